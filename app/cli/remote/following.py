"""Sources, runs and changes, over the HTTP API of a running service."""

import uuid
from collections import deque
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from app.cli.remote.connection import Connection
from app.cli.remote.paging import pages_of, project_path
from app.cli.remote.reading import deleted_of, extraction_of, job_ids_of, moment_of, read_as, run_id_of
from app.domain.changes import Change, ChangeKind, FeedPage, FeedPlace, History
from app.domain.cursors import read_place, write_place
from app.domain.ids import ExtractionId, JobId, ProjectId, RunId, SourceId, project_id_of
from app.domain.outcomes import Counts, Deleted, LeftAlone, Undone
from app.domain.rows import RunRow, RunRows, SourceRow, SourceRows
from app.domain.sources import SourceFilters
from app.errors import NotFound

_Answer = Mapping[str, Any]


class RemoteSources:
    """The service's sources; see :class:`app.services.sources.SourceService`."""

    def __init__(self, service: Connection, queued: deque[JobId]) -> None:
        self._service = service
        self._queued = queued

    async def list(self, project: str, filters: SourceFilters, *, limit: int = 100) -> SourceRows:
        """The first ``limit`` of a project's sources that pass the filters."""
        project_id = project_id_of(project)
        path = f"{project_path(project)}/sources"
        params = {
            "source_groups": filters.source_groups,
            "uri_prefix": filters.uri_prefix,
            "gone": filters.gone,
        }
        found: SourceRows = []
        async for page in pages_of(self._service, path, params, limit):
            found += read_as(path, lambda page: [_source(each, project_id) for each in page["items"]], page)
        return found[:limit]

    async def get(self, project: str, source_id: SourceId) -> SourceRow:
        """One source."""
        project_id = project_id_of(project)
        path = f"{project_path(project)}/sources/{source_id}"
        return read_as(path, lambda row: _source(row, project_id), await self._service.get(path))

    async def delete(self, project: str, source_id: SourceId) -> Deleted:
        """Delete a source with its extractions; the service's jobs delete their vectors."""
        path = f"{project_path(project)}/sources/{source_id}"
        deleted = read_as(path, deleted_of, await self._service.delete(path))
        self._queued.extend(deleted.job_ids)
        return deleted

    async def prune(self, project: str) -> int:
        """Delete the sources that have no extractions; returns how many."""
        path = f"{project_path(project)}/sources/prune"
        answer = await self._service.post(path, repeatable=False)
        return read_as(path, lambda pruned: int(pruned["pruned"]), answer)


class RemoteRuns:
    """The service's runs; see :class:`app.services.runs.RunService`."""

    def __init__(self, service: Connection, queued: deque[JobId]) -> None:
        self._service = service
        self._queued = queued

    async def get(self, project: str, run: str) -> RunRow:
        """One run, by its id or its name."""
        project_id = project_id_of(project)
        if "/" in run or run in {".", ".."}:  # a path segment can't hold these
            return await self._named(project, run)
        path = f"{project_path(project)}/runs/{quote(run, safe='')}"
        return read_as(path, lambda row: _run(row, project_id), await self._service.get(path))

    async def begin(self, project: str, name: str, metadata: Mapping[str, Any] | None = None) -> RunRow:
        """Begin a run.

        If the answer is lost, the retry may begin a second run, and the first stays empty.
        """
        project_id = project_id_of(project)
        path = f"{project_path(project)}/runs"
        answer = await self._service.post(path, {"name": name, "metadata": metadata})
        return read_as(path, lambda row: _run(row, project_id), answer)

    async def end(self, project: str, run_id: RunId) -> RunRow:
        """Mark a run as ended."""
        project_id = project_id_of(project)
        path = f"{project_path(project)}/runs/{run_id}/end"
        return read_as(path, lambda row: _run(row, project_id), await self._service.post(path))

    async def list(self, project: str, *, limit: int = 100) -> RunRows:
        """A project's newest runs."""
        found: RunRows = []
        async for rows in self._pages(project, limit):
            found += rows
        return found[:limit]

    async def _named(self, project: str, name: str) -> RunRow:
        async for rows in self._pages(project, None):
            for row in rows:
                if row.name == name:
                    return row
        raise NotFound("run", name)

    async def _pages(self, project: str, limit: int | None) -> AsyncIterator[RunRows]:
        """The runs, newest first, page by page until there are ``limit``; None: all of them."""
        project_id = project_id_of(project)
        path = f"{project_path(project)}/runs"
        async for page in pages_of(self._service, path, {}, limit):
            yield read_as(path, lambda page: [_run(each, project_id) for each in page["items"]], page)

    async def undo(self, project: str, run: str) -> Undone:
        """Revert the changes of a run, except where later changes were made; jobs update the index.

        The request is retried after a lost answer, because undoing is idempotent.
        """
        project_id = project_id_of(project)
        path = f"{project_path(project)}/runs/{quote(run, safe='')}/undo"
        undone = read_as(path, lambda answer: _undone(answer, project_id), await self._service.post(path))
        self._queued.extend(undone.job_ids)
        return undone


class RemoteChanges:
    """The service's history of changes; see :class:`app.services.changes.ChangeService`."""

    def __init__(self, service: Connection) -> None:
        self._service = service

    async def of_extraction(self, extraction_id: ExtractionId, *, limit: int = 100) -> History:
        """The newest changes of an extraction, ``limit`` or more if there are as many."""
        return await self._history(f"/v1/extractions/{extraction_id}/history", limit)

    async def of_source(self, project: str, source_id: SourceId, *, limit: int = 100) -> History:
        """The newest changes of a source, ``limit`` or more if there are as many."""
        return await self._history(f"{project_path(project)}/sources/{source_id}/history", limit)

    async def of_run(self, project: str, run_id: RunId, *, limit: int = 100) -> History:
        """The newest changes under a run, ``limit`` or more if there are as many."""
        return await self._history(f"{project_path(project)}/runs/{run_id}/changes", limit)

    async def feed(self, project: str, *, after: FeedPlace | None = None, limit: int = 100) -> FeedPage:
        """A project's changes in commit order: the ``limit`` next after a place."""
        path = f"{project_path(project)}/changes"
        place = {} if after is None else {"after": write_place(after)}
        return read_as(path, _feed_page, await self._service.get(path, {"limit": str(limit), **place}))

    async def _history(self, path: str, limit: int) -> History:
        changes: list[Change] = []
        whole, is_last = False, True
        async for page in pages_of(self._service, path, {}, limit):
            changes += read_as(path, lambda page: [_change(each) for each in page["items"]], page)
            whole = read_as(path, lambda page: bool(page["whole"]), page)
            is_last = page["next_cursor"] is None
        before = None if is_last or not changes else changes[-1].number
        return History(changes, before, is_whole=whole)


def _source(row: _Answer, project_id: ProjectId) -> SourceRow:
    return SourceRow(
        id=SourceId(uuid.UUID(row["id"])),
        project_id=project_id,
        uri=row["uri"],
        group=row["group"],
        created_at=datetime.fromisoformat(row["created_at"]),
        observed_at=moment_of(row["observed_at"]),
        extractions=int(row["extractions"]),
    )


def _run(row: _Answer, project_id: ProjectId) -> RunRow:
    return RunRow(
        id=RunId(uuid.UUID(row["id"])),
        project_id=project_id,
        name=row["name"],
        metadata=row["metadata"],
        begun_at=datetime.fromisoformat(row["begun_at"]),
        ended_at=moment_of(row["ended_at"]),
        undoes=run_id_of(row["undoes"]),
        added=int(row["added"]),
        changed=int(row["changed"]),
        unchanged=int(row["unchanged"]),
        removed=int(row["removed"]),
    )


def _undone(answer: _Answer, project_id: ProjectId) -> Undone:
    left = answer["left_alone"]
    return Undone(
        project_id=project_id,
        run_id=RunId(uuid.UUID(answer["run"])),
        undo_run_id=RunId(uuid.UUID(answer["undone_by"])),
        counts=Counts(int(answer["added"]), int(answer["changed"]), 0, int(answer["removed"])),
        left_alone=[
            LeftAlone(SourceId(uuid.UUID(each["source_id"])), _extraction_id(each["extraction_id"]))
            for each in left["items"]
        ],
        job_ids=job_ids_of(answer),
        more_left_alone=int(left["count"]) - len(left["items"]),
        already=bool(answer.get("already_undone")),  # absent from the answer of an older service
    )


def _feed_page(page: _Answer) -> FeedPage:
    return FeedPage(
        [_change(each) for each in page["items"]],
        read_place(page["cursor"], "cursor"),
        is_last=not page["more"],
        is_whole=bool(page["whole"]),
    )


def _change(change: _Answer) -> Change:
    row = change["extraction"]
    return Change(
        number=int(change["number"]),
        kind=ChangeKind(change["kind"]),
        at=datetime.fromisoformat(change["at"]),
        run_id=run_id_of(change["run_id"]),
        source_id=SourceId(uuid.UUID(change["source_id"])),
        extraction_id=_extraction_id(change["extraction_id"]),
        before=change["before"],
        after=change["after"],
        extraction=None if row is None else extraction_of(row),
    )


def _extraction_id(text: str | None) -> ExtractionId | None:
    return None if text is None else ExtractionId(uuid.UUID(text))
