"""A service's extractions, over its HTTP API."""

from collections import deque
from collections.abc import AsyncIterator, Sequence

from app.cli.remote.connection import Connection
from app.cli.remote.filtering import body_of, params_of
from app.cli.remote.paging import pages_of, project_path
from app.cli.remote.reading import deleted_of, extraction_of, job_ids_of, read_as
from app.domain.filters import ANY, Filters
from app.domain.ids import ExtractionId, JobId
from app.domain.ordering import Order
from app.domain.outcomes import Deleted, Retried
from app.domain.rows import ExtractionRow, ExtractionRows
from app.intake.where_text import write_order

_NONE = ()


class RemoteExtractions:
    """The service's extractions; the ids of the jobs that requests queue are added to ``queued``.

    See :class:`app.services.extractions.ExtractionService`.
    """

    def __init__(self, service: Connection, queued: deque[JobId]) -> None:
        self._service = service
        self._queued = queued

    async def get(self, extraction_id: ExtractionId) -> ExtractionRow:
        """One extraction."""
        path = f"/v1/extractions/{extraction_id}"
        return read_as(path, extraction_of, await self._service.get(path))

    async def iter_pages(
        self, project: str, filters: Filters, *, limit: int | None = None, order: Order | None = None
    ) -> AsyncIterator[ExtractionRows]:
        """The extractions that pass the filters, page by page, ordered by id or ``order``.

        The first ``limit`` of them; None: all.
        """
        if await self._can_match(project, filters):
            path = f"{project_path(project)}/extractions"
            params = params_of(filters) | ({} if order is None else {"sort": write_order(order)})
            async for page in pages_of(self._service, path, params, limit):
                rows = read_as(path, lambda page: [extraction_of(each) for each in page["items"]], page)
                if rows:
                    yield rows

    async def count(self, project: str, filters: Filters = ANY) -> int:
        """Count the extractions that pass the filters."""
        if not await self._can_match(project, filters):
            return 0
        path = f"{project_path(project)}/extractions/count"
        answer = await self._service.get(path, params_of(filters))
        return read_as(path, lambda answer: int(answer["count"]), answer)

    async def delete_batch(self, project: str, ids: Sequence[ExtractionId | str]) -> Deleted:
        """Delete the extractions with these ids; the service's jobs delete their vectors."""
        return await self._delete(project, {"ids": ids})

    async def delete_matching(self, project: str, filters: Filters) -> Deleted:
        """Delete the extractions that pass the filters; the service's jobs delete their vectors."""
        if not await self._can_match(project, filters):
            return Deleted(0, [])
        return await self._delete(project, {"all": True} if filters == ANY else {"filters": body_of(filters)})

    async def retry(self, project: str, filters: Filters = ANY) -> Retried:
        """Retry the set-aside extractions that pass the filters; the service's jobs embed them."""
        if not await self._can_match(project, filters):
            return Retried(0, [])
        chosen = {"ids": filters.extraction_ids} if filters.extraction_ids else {"filters": body_of(filters)}
        path = f"{project_path(project)}/extractions/retry"
        answer = await self._service.post(path, chosen, repeatable=False)
        retried = read_as(path, lambda answer: Retried(int(answer["retried"]), job_ids_of(answer)), answer)
        self._queued.extend(retried.job_ids)
        return retried

    async def _delete(self, project: str, chosen: object) -> Deleted:
        path = f"{project_path(project)}/extractions/delete"
        deleted = read_as(path, deleted_of, await self._service.post(path, chosen, repeatable=False))
        self._queued.extend(deleted.job_ids)
        return deleted

    async def _can_match(self, project: str, filters: Filters) -> bool:
        """False if the filters match nothing, after checking that the project exists.

        The API has no filter that matches nothing.
        """
        if filters.extraction_ids != _NONE:
            return True
        await self._service.get(project_path(project))
        return False
