"""The manifest of a backup, in the file beside it."""

from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from app.errors import BackupTooNew, BackupUnusable
from app.intake.refusals import refusal_of

FORMAT = 1
PRODUCT: Final = "agent-storage"

_MOST_BYTES = 64 * 2**10


class Manifest(BaseModel):
    """What made a backup, what it contains, and the size and hash by which its file is verified.

    The backup has the state at ``began_at``. ``schema_revision`` is the revision of the tables.
    ``store_id`` is None for a store that never had an index.
    """

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    product: Literal["agent-storage"] = PRODUCT
    version: str
    schema_revision: str
    store_id: str | None
    counts: dict[str, NonNegativeInt]
    file: str
    size_bytes: NonNegativeInt
    sha256: str
    began_at: datetime
    ended_at: datetime


class _Head(BaseModel):
    """The fields of a manifest of any format."""

    format: int
    product: Literal["agent-storage"]
    version: str = "of an unknown version"


def dump_manifest(manifest: Manifest) -> bytes:
    """The manifest as the bytes of its file."""
    return manifest.model_dump_json(indent=2).encode() + b"\n"


def load_manifest(file: Path) -> Manifest:
    """Read a manifest.

    Raises:
        BackupUnusable: it is missing, truncated, or another program's.
        BackupTooNew: this version doesn't know its format.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise BackupUnusable(
            str(file.with_suffix(".db")),
            f"its manifest {file.name} isn't beside it, so it is unfinished or was made by another program",
        ) from None
    except OSError as error:
        raise BackupUnusable(str(file), f"it can't be read: {error.strerror}") from error
    try:
        head = _Head.model_validate_json(content[:_MOST_BYTES])
        if head.format > FORMAT:
            found, expected = f"manifests of format {head.format}", f"format {FORMAT}"
            raise BackupTooNew(str(file), head.version, found, expected)
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = f"{where}: {refusal_of(first)}" if where else refusal_of(first)
        raise BackupUnusable(str(file), f"it isn't the manifest of a backup ({reason})") from None
