"""What to check when a store doesn't answer."""

from typing import TYPE_CHECKING

from app.errors import (
    AgentStorageError,
    DatabaseConflict,
    DatabaseDamaged,
    DatabaseDiskFull,
    DatabaseEncodingUnfit,
    DatabaseError,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DatabaseWritesRefused,
    DataDirectoryLocked,
    EmbeddingError,
    EmbeddingUnavailable,
    ExtraMissing,
    QdrantDiskFull,
    QdrantError,
    QdrantUnavailable,
    SchemaMismatch,
    StoreMissing,
    UnsupportedDialect,
)
from app.settings.masking import masked_url

if TYPE_CHECKING:
    from app.config import Settings

PARTS: tuple[tuple[str, tuple[type[AgentStorageError], ...]], ...] = (
    ("qdrant", (QdrantError,)),
    ("database", (DatabaseError, UnsupportedDialect)),
    ("embedder", (EmbeddingError, ExtraMissing)),
)

SAY_WHAT_TO_DO = (
    DatabaseDamaged,
    DatabaseDiskFull,
    DatabaseEncodingUnfit,
    DatabaseReadOnly,
    DatabaseWritesRefused,
    DataDirectoryLocked,
    QdrantDiskFull,
    SchemaMismatch,
    StoreMissing,
    UnsupportedDialect,
)
"""Errors whose message says what to do."""

_ABSENT = (DatabaseUnavailable, EmbeddingUnavailable, QdrantUnavailable)


def part_of(error: AgentStorageError) -> str:
    """The part that an error is of, or ``container``."""
    return next((part for part, classes in PARTS if isinstance(error, classes)), "container")


def with_hint(error: AgentStorageError, settings: "Settings") -> str:
    """The error's message, and if a store is absent, its address and what to check."""
    part = part_of(error)
    is_file = part == "database" and settings.database.url.startswith("sqlite")
    if is_file or not isinstance(error, _ABSENT) or isinstance(error, (*SAY_WHAT_TO_DO, DatabaseConflict)):
        return str(error)
    return f"{error}\n{part.capitalize()}: {hint_for(part, settings)}"


def hint_for(part: str, settings: "Settings") -> str:
    """What to check when a part doesn't answer."""
    embedding, qdrant = settings.embedding, settings.qdrant
    if part == "database":
        return f"Is it running, and is database.url right? It is {masked_url(settings.database.url)}."
    if part == "qdrant" and qdrant.url and qdrant.mode == "server":
        return (
            f"Is it running, and are qdrant.url and qdrant.api_key right? The URL is {masked_url(qdrant.url)}."
        )
    if part == "qdrant":
        return f"Is its directory readable and writable? qdrant.path is {qdrant.path}."
    if part == "embedder" and embedding.provider == "openai":
        url = masked_url(embedding.base_url)
        return f"Are embedding.base_url, embedding.model and embedding.api_key right? The URL is {url}."
    return "`agent-storage config show` shows its configuration."
