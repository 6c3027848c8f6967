"""Looks up sources and runs by what the user calls them: by id, URI or name."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from app.errors import NotFound, ServiceError

if TYPE_CHECKING:
    from app.cli.ports import ServiceParts
    from app.domain.ids import SourceId
    from app.domain.rows import SourceRow

T = TypeVar("T")

_NOT_FOUND = 404


async def find_source(parts: "ServiceParts", project: str, text: str) -> "SourceRow":
    """Find a project's source by its id or URI.

    Raises:
        NotFound: the project or source doesn't exist.
        ServiceError: the service refused the request.
    """
    by_id = source_id_in(text)
    if by_id is not None:
        found = await unless_missing(lambda: parts.sources().get(project, by_id))
        if found is not None:
            return found
    at_uri = source_id_at(project, text)
    return await named(at_uri, "source", text, lambda: parts.sources().get(project, at_uri))


async def named(id_: UUID, kind: str, text: str, look: Callable[[], Awaitable[T]]) -> T:
    """Call ``look``; if nothing has the id, the error names ``text``, as the user gave it.

    Raises:
        NotFound: nothing has the id, or the project doesn't exist.
        ServiceError: the service refused the request.
    """
    try:
        return await look()
    except (NotFound, ServiceError) as error:
        reason = error.reason if isinstance(error, ServiceError) else str(error)
        if _is_missing(error) and str(id_) in reason:
            raise NotFound(kind, text) from error
        raise


def source_id_in(text: str) -> "SourceId | None":
    """Parse an id; None if the text isn't one. A URI may look like an id, too."""
    from app.domain.ids import SourceId

    try:
        return SourceId(UUID(text))
    except ValueError:
        return None


def source_id_at(project: str, uri: str) -> "SourceId":
    """The id of a project's source, computed from its URI.

    Raises:
        InvalidField: the project's name or the URI is invalid.
    """
    from app.domain.ids import project_id_of, source_id_of
    from app.domain.items import MAX_URI_CHARS, parse_label

    return source_id_of(project_id_of(project), parse_label(uri, "source_uri", MAX_URI_CHARS))


async def unless_missing(look: Callable[[], Awaitable[T]]) -> T | None:
    """Call ``look``; None if it finds nothing."""
    try:
        return await look()
    except (NotFound, ServiceError) as error:
        if _is_missing(error):
            return None
        raise


def _is_missing(error: NotFound | ServiceError) -> bool:
    return isinstance(error, NotFound) or error.status == _NOT_FOUND
