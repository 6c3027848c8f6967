"""The ids of everything stored.

All but a job's are derived from the content, so they are the same on every machine.
"""

import re
import uuid
from functools import lru_cache
from hashlib import sha1
from typing import NewType

from app.domain.normal_form import composed
from app.errors import InvalidField

ProjectId = NewType("ProjectId", uuid.UUID)
SourceId = NewType("SourceId", uuid.UUID)
ExtractionId = NewType("ExtractionId", uuid.UUID)
JobId = NewType("JobId", uuid.UUID)
RunId = NewType("RunId", uuid.UUID)

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:agent-storage")
_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PROJECT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def project_id_of(name: str) -> ProjectId:
    """Return the id of the project with that name: a UUIDv5, the same on every machine.

    Raises:
        InvalidField: the name isn't 1 to 100 letters, digits, dots, dashes and underscores.
    """
    if not _PROJECT_NAME.fullmatch(name):
        raise InvalidField(
            "project",
            f"{name[:100]!r} isn't a project name: 1 to 100 of the letters A to Z, digits, '.', '-' and '_', "
            "the first a letter or digit",
        )
    return ProjectId(uuid.uuid5(_NAMESPACE, f"project:{name}"))


@lru_cache(maxsize=2_000)
def source_id_of(project_id: ProjectId, uri: str) -> SourceId:
    """Return the id of a project's source: a UUIDv5 of the URI in NFC.

    Cached, because storing a batch asks for the same id several times, at 10 µs each.
    """
    return SourceId(uuid5_of(project_id, composed(uri, "source_uri").encode()))


def uuid5_of(namespace: uuid.UUID, name: bytes) -> uuid.UUID:
    """Return the UUIDv5 of a name (RFC 9562), in two thirds of the time of ``uuid.uuid5``."""
    digest = sha1(namespace.bytes + name, usedforsecurity=False).digest()
    return uuid.UUID(bytes=digest[:16], version=5)


@lru_cache(maxsize=4_096)
def parse_uuid(text: str) -> uuid.UUID:
    """Parse a UUID.

    Cached, because rows repeat the ids of projects and sources, and parsing one takes 2 µs.

    Raises:
        ValueError: the text isn't a UUID.
    """
    return uuid.UUID(text)


def parse_extraction_id(text: str) -> ExtractionId:
    """Parse a point ID as the id of its extraction.

    Raises:
        ValueError: the text isn't a UUID.
    """
    return ExtractionId(uuid.UUID(text))


def find_extraction_id(text: str) -> ExtractionId | None:
    """Parse a point ID; None if another program made it, so it can't be an extraction's."""
    return ExtractionId(uuid.UUID(text)) if _CANONICAL_UUID.fullmatch(text) else None


def is_id(value: object) -> bool:
    """Whether ``value`` is a UUID, or its text in lower case with hyphens, as in point IDs."""
    return isinstance(value, uuid.UUID) or (
        isinstance(value, str) and _CANONICAL_UUID.fullmatch(value) is not None
    )
