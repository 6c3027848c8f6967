"""The available embedders, by their names in the settings, and which of them can be used here."""

from collections.abc import Callable
from dataclasses import dataclass

from app.errors import AgentStorageError, InvalidInput
from app.executor import Lane
from app.services.embedding.connections import Connections
from app.services.embedding.deterministic import DeterministicEmbedder
from app.services.embedding.embedder import Embedder, EmbedderIdentity
from app.services.embedding.model2vec import Model2VecEmbedder
from app.services.embedding.multilingual import MultilingualEmbedder
from app.services.embedding.openai import OpenAIEmbedder
from app.services.embedding.wordllama import WordllamaEmbedder
from app.settings.sections import EmbeddingSettings

_SMALL = 32
_FOLDER_GIVEN = "model2vec:"


@dataclass(frozen=True, slots=True)
class Choice:
    """An embedder by name. If it can't be used, ``identity`` is None, and ``reason`` says why."""

    name: str
    is_active: bool
    identity: EmbedderIdentity | None = None
    languages: frozenset[str] | None = None
    reason: str = ""


class EmbedderChoices:
    """Makes embedders by name, not only the configured one, without loading any."""

    def __init__(self, lane: Lane, connections: Connections, settings: EmbeddingSettings) -> None:
        self._lane = lane
        self._settings = settings
        self._makers: dict[str, Callable[[], Embedder]] = {
            "wordllama": lambda: WordllamaEmbedder(lane, settings.batch_size),
            "multilingual": lambda: MultilingualEmbedder(lane),
            "model2vec": lambda: self._static(settings.path),
            "openai": lambda: OpenAIEmbedder(lane, connections, self._with_endpoint()),
            "deterministic": lambda: DeterministicEmbedder(lane, _SMALL),
        }

    def make(self, name: str) -> Embedder:
        """Make an embedder with this process's settings; ``model2vec:FOLDER`` names a folder.

        Raises:
            InvalidInput: the name is unknown, or the settings lack what it needs.
        """
        if name.startswith(_FOLDER_GIVEN):
            return self._static(name.removeprefix(_FOLDER_GIVEN))
        maker = self._makers.get(name)
        if maker is None:
            raise InvalidInput(
                f"there is no embedder {name!r}; there are {', '.join(self._makers)} and model2vec:FOLDER"
            )
        return maker()

    def all(self) -> list[Choice]:
        """All embedders, with the configured one marked."""
        return [self._choice(name) for name in self._makers]

    def offline(self) -> list[str]:
        """The names of usable embedders that send no text to another machine."""
        return [
            choice.name
            for choice in self.all()
            if choice.identity is not None and choice.name not in {"openai", "deterministic"}
        ]

    def _choice(self, name: str) -> Choice:
        is_active = name == self._settings.provider
        try:
            embedder = self.make(name)
            return Choice(name, is_active, embedder.identity, embedder.languages)
        except AgentStorageError as error:
            return Choice(name, is_active, reason=str(error))

    def _static(self, path: str | None) -> Model2VecEmbedder:
        if not path:
            raise InvalidInput("model2vec needs a folder: set embedding.path, or name it as model2vec:FOLDER")
        return Model2VecEmbedder(self._lane, path, batch_size=self._settings.batch_size)

    def _with_endpoint(self) -> EmbeddingSettings:
        if self._settings.provider != "openai":  # model and dimension belong to another
            raise InvalidInput(
                "openai needs an endpoint: set embedding.provider to openai, embedding.model and embedding.dimension, "
                "for instance in EMBEDDING_PROVIDER, EMBEDDING_MODEL and EMBEDDING_DIMENSION"
            )
        return self._settings
