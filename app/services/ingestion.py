"""Accept extractions: store them with their index job in one transaction, or replace sources."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID

import orjson

from app.database import Database, WriteSession
from app.domain.ids import ExtractionId, JobId, ProjectId, RunId, SourceId, project_id_of, source_id_of
from app.domain.items import Item, extraction_id_of
from app.domain.outcomes import Accepted, Counts, Replaced, ReplacedSource
from app.domain.sources import ReplaceOptions, ReplaceScope, SourceFacts
from app.errors import InvalidField, SourceRepeated
from app.services.jobs.waiting import check_wait, with_waiting
from app.services.language_watch import LanguageWatch
from app.services.mass_delete import MassDeleteGuard
from app.services.metrics.instruments import Instruments, NullInstruments
from app.services.replacing import replace_project, replace_sources
from app.services.storage.repositories.idempotency import IdempotencyRepository
from app.services.storing import store
from app.services.wakeup import Wakeup

MAX_KEY_CHARS = 255
MOST_LISTED = 10_000
"""How many facts a dry run lists; it holds them in memory."""
_OPTIONS = ReplaceOptions()


@dataclass(frozen=True, slots=True)
class RequestPart:
    """The ``Idempotency-Key`` of a request, and which part of its body this is, counted from 0."""

    key: str
    part: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.key) <= MAX_KEY_CHARS:  # a PostgreSQL index takes up to 2,704 bytes
            raise InvalidField("Idempotency-Key", f"is 1 to {MAX_KEY_CHARS} characters, not {len(self.key):,}")


class IngestionService:
    """Stores each extraction once, durably, together with the job that makes it searchable."""

    def __init__(
        self,
        database: Database,
        wakeup: Wakeup,
        instruments: Instruments | None = None,
        language_watch: LanguageWatch | None = None,
    ) -> None:
        self._database = database
        self._wakeup = wakeup
        self._watch = language_watch
        self._instruments = instruments or NullInstruments()

    async def accept(
        self,
        project: str,
        items: Sequence[Item],
        request: RequestPart | None = None,
        *,
        run_id: RunId | None = None,
        wait: float | None = None,
    ) -> Accepted:
        """Store the items under a project, creating it if it doesn't exist.

        When this returns, every item is on disk, and so is the job for the new ones. Storing the
        same items again is a no-op. If they are the same part of a ``request``, the answer is also
        the same.

        An item that is already stored may have another confidence, other metadata, or another group
        for its source: these are updated, and the job that updates the index's payloads is stored
        too. Values that an item leaves out stay as they are; if items contradict each other, the
        last one counts. If a run is given, all changes belong to it.

        With ``wait``, it returns when the jobs have ended, or after that many seconds; the result's
        ``waited`` says which of the two. The result's ``warnings`` say which of the project's
        languages the embedder wasn't made for.

        Raises:
            InvalidField: the project name is invalid, or ``wait`` is longer than a minute.
            IdempotencyConflict: the request's key was used with other items.
            NotFound, RunEnded: the run can't be used.
        """
        project_id = project_id_of(project)
        check_wait(wait)

        def work(session: WriteSession) -> Accepted:
            if request is None:
                return store(session, project, project_id, items, run_id)
            return _store_once(session, project, project_id, items, request, run_id)

        accepted = await self._database.write(work)
        self._instruments.facts(Counts(len(accepted.new), len(accepted.changed)))
        if accepted.job_ids:
            self._wakeup.set()
        if self._watch is not None:
            accepted = replace(accepted, warnings=await self._watch.look(project, project_id, items))
        return await with_waiting(self._database, accepted, wait)

    async def replace(
        self,
        project: str,
        sources: Sequence[SourceFacts],
        options: ReplaceOptions = _OPTIONS,
        *,
        key: str | None = None,
        wait: float | None = None,
    ) -> Replaced:
        """Make the facts of each source exactly those given, all in one transaction.

        New facts are stored with their embed job, facts that weren't given are deleted with a job
        for their vectors, and confidence, metadata and group are updated without embedding again.
        With the scope ``project``, sources that aren't given are emptied. ``wait`` and the warnings
        are as in :meth:`accept`.

        Raises:
            InvalidField: the project name is invalid, or ``wait`` is longer than a minute.
            InvalidInput: a source is given twice.
            StaleReplace: a source was last replaced with a later observation.
            MassDeleteRefused: more than half of the facts of a source or the project would be
                removed, and the options don't allow it.
            IdempotencyConflict: the key was used for something else.
            NotFound, RunEnded: the run can't be used.
        """
        check_wait(wait)
        replaced = await self.replacing(project, options, key=key).take(sources, finishing=True)
        return await with_waiting(self._database, replaced, wait)

    def replacing(self, project: str, options: ReplaceOptions, *, key: str | None = None) -> "ReplaceStream":
        """Start a replace of more sources than fit into memory.

        Raises:
            InvalidField: the project name or the key is invalid.
        """
        return ReplaceStream(
            self._database, self._wakeup, self._instruments, project, options, key, self._watch
        )


class ReplaceStream:
    """One replace, a batch of sources at a time; each call is its own transaction."""

    def __init__(  # noqa: PLR0913, PLR0917 - the service's parts, and the replace
        self,
        database: Database,
        wakeup: Wakeup,
        instruments: Instruments,
        project: str,
        options: ReplaceOptions,
        key: str | None,
        language_watch: LanguageWatch | None,
    ) -> None:
        self._database = database
        self._project = project
        self._watch = language_watch
        self._wakeup = wakeup
        self._instruments = instruments
        self._options = options
        self._key = None if key is None else RequestPart(key).key
        self._parts = 0
        self._room = MOST_LISTED
        self._named: dict[SourceId, int] = {}
        self._project_id = project_id_of(project)
        self._guard = MassDeleteGuard(project, self._project_id, options.allow_mass_delete)

    async def take(self, sources: Sequence[SourceFacts], *, finishing: bool = False) -> Replaced:
        """Make the facts of these sources exactly those given.

        With ``finishing``, the same transaction also does what :meth:`finish` does. Raises what
        :meth:`IngestionService.replace` raises.
        """
        if finishing and self._options.scope == ReplaceScope.PROJECT:
            return await self._write(partial(self._replace_project, sources=sources), sources)
        return await self._write(partial(self._replace_sources, sources=sources), sources)

    async def finish(self) -> Replaced:
        """End the replace: with the scope ``project``, empty the sources that weren't named."""
        if self._options.scope == ReplaceScope.SOURCE:
            return Replaced()
        return await self._write(partial(self._replace_project, sources=()), None)

    def _replace_sources(self, session: WriteSession, *, sources: Sequence[SourceFacts]) -> Replaced:
        return replace_sources(session, self._project_id, sources, self._options, self._guard, self._room)

    def _replace_project(self, session: WriteSession, *, sources: Sequence[SourceFacts]) -> Replaced:
        return replace_project(
            session, self._project_id, sources, self._named, self._options, self._guard, self._room
        )

    async def _write(
        self, work: Callable[[WriteSession], Replaced], sources: Sequence[SourceFacts] | None
    ) -> Replaced:
        """Run ``work`` in a transaction, or return the stored answer to this part of the request.

        Everything whose time grows with ``sources`` runs on the database's thread. ``sources`` is
        None for the end of the replace.
        """
        part = self._parts
        self._parts += 1

        def written(session: WriteSession) -> tuple[Replaced, Counts]:
            self._note_named(sources or ())
            replaced = self._once(session, work, part, sources)
            if self._options.dry_run:
                self._guard.note_rollback()
                raise _NotWritten(replaced)
            return replaced, replaced.counts

        try:
            replaced, counts = await self._database.write(written, repeatable=False)
        except _NotWritten as dry:
            self._room -= dry.replaced.listed
            return Replaced(dry.replaced.sources)
        self._instruments.facts(counts)
        if replaced.job_ids:
            self._wakeup.set()
        if self._watch is None:
            return replaced
        items = [item for each in sources or () for item in each.items]
        return replace(replaced, warnings=await self._watch.look(self._project, self._project_id, items))

    def _once(
        self,
        session: WriteSession,
        work: Callable[[WriteSession], Replaced],
        part: int,
        sources: Sequence[SourceFacts] | None,
    ) -> Replaced:
        if self._key is None or self._options.dry_run:
            return work(session)
        keys = IdempotencyRepository(session)
        fingerprint = self._fingerprint(sources)
        known = keys.find(self._key, part, fingerprint)
        if known is not None:
            replaced = _replaced_of(known)
            self._guard.note(sources or (), replaced)
            return replaced
        replaced = work(session)
        keys.add(self._key, part, fingerprint, _as_json(replaced))
        return replaced

    def _note_named(self, sources: Sequence[SourceFacts]) -> None:
        for facts in sources:
            id_ = source_id_of(self._project_id, facts.source_uri)
            if id_ in self._named:
                raise SourceRepeated(facts.source_uri, self._named[id_], facts.line)
            self._named[id_] = facts.line

    def _fingerprint(self, sources: Sequence[SourceFacts] | None) -> str:
        """A hash of everything that identifies this part; the end's is of the named sources."""
        if sources is None:
            named = hashlib.sha256(b"".join(sorted(id_.bytes for id_ in self._named))).hexdigest()
            return f"rest {named}"
        facts = [
            (
                each.source_uri,
                each.gone,
                each.observed_at,
                _fingerprint([extraction_id_of(self._project_id, item) for item in each.items], each.items),
            )
            for each in sources
        ]
        options = self._options
        told = orjson.dumps([facts, options.scope, options.observed_at, options.run_id])
        return hashlib.sha256(told).hexdigest()


class _NotWritten(Exception):  # noqa: N818 - not an error
    """Rolls back a dry run's transaction, and carries its outcome."""

    def __init__(self, replaced: Replaced) -> None:
        self.replaced = replaced


def _store_once(  # noqa: PLR0913, PLR0917 - what `accept` was called with
    session: WriteSession,
    project: str,
    project_id: ProjectId,
    items: Sequence[Item],
    request: RequestPart,
    run_id: RunId | None,
) -> Accepted:
    ids = [extraction_id_of(project_id, item) for item in items]
    fingerprint = _fingerprint(ids, items)
    keys = IdempotencyRepository(session)
    known = keys.find(request.key, request.part, fingerprint)
    if known is not None:
        job_id = known["job_id"]
        # Answers stored by earlier versions lack the changes: those versions made none.
        return Accepted(
            ids,
            {ids[place] for place in known["new"]},
            None if job_id is None else JobId(UUID(job_id)),
            {ids[place] for place in known.get("changed", ())},
            [JobId(UUID(id_)) for id_ in known.get("payload_job_ids", ())],
        )
    accepted = store(session, project, project_id, items, run_id)
    places = {id_: place for place, id_ in enumerate(ids)}
    answer = {
        "job_id": None if accepted.job_id is None else str(accepted.job_id),
        "new": sorted(places[id_] for id_ in accepted.new),
        "changed": sorted(places[id_] for id_ in accepted.changed),
        "payload_job_ids": [str(id_) for id_ in accepted.payload_job_ids],
    }
    keys.add(request.key, request.part, fingerprint, answer)
    return accepted


def _fingerprint(ids: Sequence[ExtractionId], items: Sequence[Item]) -> str:
    """A hash of the items: of their ids, and of the values that ids don't cover."""
    rest = [
        (item.source_group, item.confidence, *(() if item.metadata is None else (item.metadata,)))
        for item in items
    ]
    return hashlib.sha256(orjson.dumps([ids, rest])).hexdigest()


def _as_json(replaced: Replaced) -> dict[str, Any]:
    sources = [
        [str(each.source_id), each.source_uri, *asdict(each.counts).values(), each.gone]
        for each in replaced.sources
    ]
    return {"replaced": sources, "job_ids": [str(id_) for id_ in replaced.job_ids]}


def _replaced_of(known: Mapping[str, Any]) -> Replaced:
    return Replaced(
        [
            ReplacedSource(SourceId(UUID(id_)), uri, Counts(*counts), gone)
            for id_, uri, *counts, gone in known["replaced"]
        ],
        [JobId(UUID(id_)) for id_ in known["job_ids"]],
    )
