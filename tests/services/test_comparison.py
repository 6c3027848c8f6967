"""Comparing embedders, and choosing one by its name."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import SecretStr
from support.static_model import DIMENSION, save_static_model

from app.domain.pairs import Pair
from app.errors import EmbeddingRejected, EmbeddingUnavailable, InvalidInput
from app.executor import BoundedExecutor, Lane
from app.services.embedding.choices import EmbedderChoices
from app.services.embedding.comparison import EmbedderComparison
from app.services.embedding.connections import Connections
from app.services.embedding.deterministic import DeterministicEmbedder
from app.services.embedding.embedder import EmbedderIdentity, TextRole
from app.settings.sections import EmbeddingSettings


@pytest.fixture(scope="module")
def lane() -> Iterator[Lane]:
    executor = BoundedExecutor(2)
    yield executor.lane("embedding", limit=2, max_waiting=100, wait_timeout_s=60)
    assert executor.close(30)


class Placed:
    """An embedder with a given vector for each text; more than nine characters are too long."""

    identity = EmbedderIdentity("placed", "1", 2)
    languages = frozenset({"en"})

    def __init__(self, degrees: dict[str, float]) -> None:
        self.degrees = degrees
        self.roles: dict[str, TextRole] = {}

    async def embed(self, texts: Sequence[str], role: TextRole = TextRole.PASSAGE) -> NDArray[np.float32]:
        for place, text in enumerate(texts):
            if len(text) > 9:
                raise EmbeddingRejected(f"text {place}: it is too long", fits=9 / len(text))
            if text == "refused":
                raise EmbeddingRejected(f"text {place}: it is refused")
        self.roles |= dict.fromkeys(texts, role)
        angles = np.radians([self.degrees[text] for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    async def ping(self) -> None:
        """Always well."""


async def test_each_query_is_ranked_over_all_texts(lane: Lane) -> None:
    near = {f"text {number}": number * 8.0 for number in range(11)}
    embedder = Placed({**near, "first": 1.0, "second": 1.0, "last": 0.0})
    pairs = [Pair("first", "text 0"), Pair("second", "text 1"), Pair("last", "text 10")]
    others = [Pair("first", text) for text in near if text not in {"text 0", "text 1", "text 10"}]
    told: list[int] = []
    found = await EmbedderComparison(lane).run(embedder, [*pairs, *others], told.append)
    # Of the 11 queries `first` and its like are answered by text 0 to 9, and `last` by the eleventh
    # nearest.
    assert (found.queries, found.texts) == (11, 11)
    assert found.hit_1 == pytest.approx(1 / 11)
    assert found.hit_10 == pytest.approx(10 / 11)
    assert sum(told) == 22
    assert embedder.roles == {
        **dict.fromkeys(near, TextRole.PASSAGE),
        **dict.fromkeys(("first", "second", "last"), TextRole.QUERY),
    }
    assert found.texts_per_s > 0
    assert found.load_s >= 0
    assert (found.identity, found.languages) == (embedder.identity, embedder.languages)


async def test_a_text_of_several_queries_is_embedded_once(lane: Lane) -> None:
    embedder = Placed({"text": 0, "one": 10, "two": 20})
    found = await EmbedderComparison(lane).run(embedder, [Pair("one", "text"), Pair("two", "text")], _ignore)
    assert (found.queries, found.texts, found.hit_1) == (2, 1, 1.0)


async def test_texts_that_are_equally_near_are_ranked_in_their_order(lane: Lane) -> None:
    embedder = Placed({"a": 0, "b": 0, "query": 5})
    found = await EmbedderComparison(lane).run(embedder, [Pair("query", "a"), Pair("query", "b")], _ignore)
    assert found.hit_1 == 0.5


async def test_what_is_too_long_is_cut_and_counted_and_what_is_refused_finds_nothing(lane: Lane) -> None:
    embedder = Placed({"a long te": 0, "other": 90, "query": 10})
    pairs = [
        Pair("query", "a long text"),
        Pair("refused", "other"),
        Pair("query", "refused"),
        *(Pair("query", "other") for _ in range(300)),
    ]
    found = await EmbedderComparison(lane).run(embedder, pairs, _ignore)
    assert (found.cut, found.refused) == (1, 2)
    assert found.hit_1 == pytest.approx(1 / 303)
    assert found.hit_10 == pytest.approx(301 / 303)


async def test_an_endpoint_that_fails_is_no_result(lane: Lane) -> None:
    class Away(DeterministicEmbedder):
        async def ping(self) -> None:
            raise EmbeddingUnavailable("away")

    with pytest.raises(EmbeddingUnavailable):
        await EmbedderComparison(lane).run(Away(lane, 4), [Pair("a", "b")], _ignore)


def _ignore(_count: int) -> None:
    pass


# --- choosing -------------------------------------------------------------------------------------


def choices(lane: Lane, **settings: object) -> EmbedderChoices:
    return EmbedderChoices(lane, Connections(SecretStr("k")), EmbeddingSettings.model_validate(settings))


def test_all_are_listed_with_why_one_can_not_be_used(lane: Lane, tmp_path: Path) -> None:
    found = {choice.name: choice for choice in choices(lane).all()}
    assert list(found) == ["wordllama", "multilingual", "model2vec", "openai", "deterministic"]
    assert [name for name, choice in found.items() if choice.is_active] == ["wordllama"]
    assert found["wordllama"].languages == frozenset({"en"})
    assert found["multilingual"].identity is not None
    assert found["multilingual"].languages is not None
    assert found["model2vec"].identity is None
    assert "set embedding.path" in found["model2vec"].reason
    assert "set embedding.provider to openai" in found["openai"].reason
    folder = save_static_model(tmp_path / "small")
    configured = {choice.name: choice for choice in choices(lane, provider="model2vec", path=str(folder)).all()}
    assert configured["model2vec"].is_active
    assert configured["model2vec"].identity is not None
    assert configured["model2vec"].identity.dimension == DIMENSION


def test_only_what_sends_no_text_elsewhere_is_compared_unasked(lane: Lane) -> None:
    openai = choices(lane, provider="openai", model="m", dimension=3)
    assert openai.make("openai").identity.name == "openai/m"
    assert list(openai.offline()) == ["wordllama", "multilingual"]


def test_a_folder_may_be_named(lane: Lane, tmp_path: Path) -> None:
    folder = save_static_model(tmp_path / "small")
    assert choices(lane).make(f"model2vec:{folder}").identity.name == "model2vec/small"


@pytest.mark.parametrize("name", ["", "word2vec", "model2vec:", "WORDLLAMA"])
def test_another_name_is_refused(lane: Lane, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"there is no embedder|needs a folder"):
        choices(lane).make(name)
