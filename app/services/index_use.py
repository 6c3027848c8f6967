"""Check whether the index may be used: by this store, with this embedder, now."""

from dataclasses import dataclass

from app.database import Database, ReadSession, WriteSession
from app.domain.ids import ExtractionId, find_extraction_id
from app.domain.text import TextRules
from app.errors import EmbedderMismatch, ForeignCollection, IndexRebuilding, TextsMismatch
from app.models import IndexState
from app.services.embedding.embedder import Embedder, EmbedderIdentity
from app.services.storage.qdrant.repository import QdrantRepository
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.hits import IndexSeen
from app.services.storage.repositories.index_state import IndexStateRepository

_SAMPLE = 1_000


@dataclass(frozen=True, slots=True)
class IndexIdentity:
    """The embedder and text rules of an index; only vectors of the same identity are comparable."""

    embedder: EmbedderIdentity
    texts: str

    def __str__(self) -> str:
        return f"{self.embedder} from texts of {self.texts}"


def identity_of(embedder: Embedder, rules: TextRules) -> IndexIdentity:
    """The identity of an index that this embedder fills with texts made by these rules."""
    return IndexIdentity(embedder.identity, rules.identity)


def stored_identity(state: IndexState | IndexSeen) -> IndexIdentity:
    """The identity of the stored index."""
    embedder = EmbedderIdentity(state.embedder_name, state.embedder_version, state.dimension)
    return IndexIdentity(embedder, state.texts)


def require_same(state: IndexState, identity: IndexIdentity) -> None:
    """Make sure that the stored index has this identity, whether or not it is being rebuilt.

    Raises:
        EmbedderMismatch: another embedder makes its vectors.
        TextsMismatch: its vectors are made from other texts.
    """
    stored = stored_identity(state)
    if stored.embedder != identity.embedder:
        raise EmbedderMismatch(str(stored.embedder), str(identity.embedder))
    if stored.texts != identity.texts:
        raise TextsMismatch(stored.texts, identity.texts)


def require_usable(state: IndexState | None, identity: IndexIdentity) -> None:
    """Make sure that vectors of this identity may be written now.

    Raises:
        IndexRebuilding: a rebuild is under way, or was interrupted.
        EmbedderMismatch, TextsMismatch: see :func:`require_same`.
    """
    if state is None:
        return
    if state.rebuilding:
        raise IndexRebuilding
    require_same(state, identity)


def note_identity(
    session: WriteSession, identity: IndexIdentity, *, rebuilding: bool = False, generation: int = 0
) -> IndexState:
    """Store the index's identity from now on."""
    embedder = identity.embedder
    return IndexStateRepository(session).put(
        embedder.name,
        embedder.version,
        embedder.dimension,
        texts=identity.texts,
        rebuilding=rebuilding,
        generation=generation,
    )


class IndexOwnership:
    """Tells this store's collection from others: deployments may share a Qdrant server."""

    def __init__(self, database: Database, qdrant: QdrantRepository) -> None:
        self._database = database
        self._qdrant = qdrant

    async def store_id(self) -> str:
        """This store's id: random, created and stored on first use."""
        found = await self._database.read(lambda session: IndexStateRepository(session).find_store_id())
        if found is None:
            found = await self._database.write(lambda session: IndexStateRepository(session).make_store_id())
        return str(found)

    async def require(self, operation: str) -> None:
        """Make sure that the collection, if it exists, belongs to this store.

        A collection without an owner is adopted if most points of a sample have a row here.

        Raises:
            ForeignCollection: it belongs to another store; the message says that it can't
                ``operation``.
        """
        found = await self._qdrant.look_at_collection()
        if found is None:
            return
        store_id = await self.store_id()
        if found.owner is None and await self._has_our_points():
            await self._qdrant.set_owner(store_id)
        elif found.owner != store_id:
            raise ForeignCollection(operation, self._qdrant.collection, found.owner, store_id)

    async def adopt(self) -> None:
        """Make this store the owner of the collection, even if it has another owner.

        Raises:
            CollectionMissing: there is no collection.
        """
        await self._qdrant.set_owner(await self.store_id())

    async def _has_our_points(self) -> bool:
        async for page in self._qdrant.iter_point_ids(_SAMPLE):
            ids = [id_ for point in page if (id_ := find_extraction_id(point)) is not None]

            def known(session: ReadSession, ids: list[ExtractionId] = ids) -> int:
                return len(ExtractionRepository(session).existing_ids(ids))

            return 2 * await self._database.read(known) > len(page)
        return True
