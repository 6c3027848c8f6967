"""Replace the facts of sources in a transaction: afterwards each has exactly the facts given."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice

from app.database import WriteSession
from app.domain.changes import ChangeKind
from app.domain.ids import ExtractionId, JobId, ProjectId, SourceId, source_id_of
from app.domain.items import Item, extraction_id_of
from app.domain.outcomes import ChangedFact, Counts, Replaced, ReplacedSource
from app.domain.sources import ReplaceOptions, SourceFacts
from app.errors import StaleReplace
from app.services.creating import create_facts
from app.services.jobs.queueing import pages, queue_embedding, queue_payloads, queue_vectors_deletion
from app.services.mass_delete import MassDeleteGuard
from app.services.storage.repositories.facts import (
    Assertion,
    FactRepository,
    RemovedFact,
    StoredFact,
    StoredFacts,
    differs,
)
from app.services.storage.repositories.ledger import ChangesBySource, SourceChanges
from app.services.storage.repositories.project import ProjectRepository
from app.services.storage.repositories.run import RunRepository
from app.services.storage.repositories.source import HeldSource, SourceRepository
from app.services.storing import differs_in_payload, new_extraction, note_asserted, record

_A_PAGE = 200
_MANY = 10_000


@dataclass(slots=True)
class _Plan:
    """What it takes to replace the facts of one source."""

    facts: SourceFacts
    held: HeldSource
    stored: StoredFacts
    wanted: dict[ExtractionId, Item]
    observed_at: datetime
    group: str | None
    added: list[ExtractionId]
    kept: list[StoredFact]
    removed: list[ExtractionId]

    @property
    def is_regrouped(self) -> bool:
        return not self.held.is_new and self.group != self.held.group

    def assertion(self, id_: ExtractionId) -> Assertion:
        return Assertion(self.wanted[id_].confidence, self.wanted[id_].metadata)


def replace_sources(  # noqa: PLR0913, PLR0917 - what is replaced, and how
    session: WriteSession,
    project_id: ProjectId,
    sources: Sequence[SourceFacts],
    options: ReplaceOptions,
    guard: MassDeleteGuard,
    room: int = 0,
) -> Replaced:
    """Make the facts of each source exactly those given; a dry run lists up to ``room`` of them.

    Raises:
        StaleReplace: a source was last replaced with a later observation.
        MassDeleteRefused: too many facts would be removed, and that isn't allowed.
        NotFound, RunEnded: the run can't be used.
    """
    _prepare(session, project_id, options, guard)
    held = SourceRepository(session).hold_batch(project_id, [each.source_uri for each in sources])
    return _replace(session, project_id, sources, held, options, guard, room)


def replace_project(  # noqa: PLR0913, PLR0917 - what is replaced, and how
    session: WriteSession,
    project_id: ProjectId,
    sources: Sequence[SourceFacts],
    named: Collection[SourceId],
    options: ReplaceOptions,
    guard: MassDeleteGuard,
    room: int = 0,
) -> Replaced:
    """Make the facts of each source exactly those given, and empty all sources not ``named``.

    Raises what :func:`replace_sources` raises.
    """
    _prepare(session, project_id, options, guard)
    repository = SourceRepository(session)
    rest = _unnamed(repository, project_id, named)
    # Lock all of them first: once the ledger has an entry, other writers wait for this transaction.
    held = repository.hold_batch(project_id, [each.source_uri for each in sources], others=rest)
    FactRepository(session).lock_of_sources(list(held))
    replaced = _replace(session, project_id, sources, held, options, guard, room)
    emptied = [SourceFacts(uri, (), observed_at=options.observed_at) for uri in rest.values()]
    for start in range(0, len(emptied), _A_PAGE):
        page = emptied[start : start + _A_PAGE]
        room_left = room - replaced.listed
        replaced += _replace(session, project_id, page, held, options, guard, room_left)
    return replaced


def _prepare(
    session: WriteSession, project_id: ProjectId, options: ReplaceOptions, guard: MassDeleteGuard
) -> None:
    ProjectRepository(session).get_or_create(guard.project)
    if options.run_id is not None:
        RunRepository(session).require_open(project_id, options.run_id)


def _unnamed(
    repository: SourceRepository, project_id: ProjectId, named: Collection[SourceId]
) -> dict[SourceId, str]:
    """The URIs of the project's sources that have facts and weren't named."""
    found, after = dict[SourceId, str](), None
    while page := repository.with_facts(project_id, after=after, limit=_MANY):
        after = page[-1][0]
        found |= {id_: uri for id_, uri in page if id_ not in named}
    return found


def _replace(  # noqa: PLR0913, PLR0917 - what is replaced, and how
    session: WriteSession,
    project_id: ProjectId,
    sources: Sequence[SourceFacts],
    held: Mapping[SourceId, HeldSource],
    options: ReplaceOptions,
    guard: MassDeleteGuard,
    room: int,
) -> Replaced:
    holding = [held[source_id_of(project_id, each.source_uri)] for each in sources]
    stored = _by_source(FactRepository(session).find_of_sources([each.id for each in holding]))
    now = datetime.now(UTC)  # the same for all sources, so that one statement stores it
    plans = [
        _plan(project_id, facts, source, stored.get(source.id, {}), options, now)
        for facts, source in zip(sources, holding, strict=True)
    ]
    _check(session, plans, guard)
    replaced = _Replacing(session, project_id, options, room).run(plans)
    guard.note(sources, replaced)
    return replaced


class _Replacing:
    """Carries out plans, all in the caller's transaction."""

    def __init__(
        self, session: WriteSession, project_id: ProjectId, options: ReplaceOptions, room: int
    ) -> None:
        self._session = session
        self._project_id = project_id
        self._run_id = options.run_id
        self._is_dry = options.dry_run
        self._room = room
        self._removed: dict[SourceId, list[RemovedFact]] = {}  # of a dry run, to be listed
        self._facts = FactRepository(session)
        self._changes = ChangesBySource()
        self._job_ids: list[JobId] = []

    def run(self, plans: Sequence[_Plan]) -> Replaced:
        for plan in plans:
            if plan.held.is_new:
                self._changes[plan.held.id].is_new = True
        stored = self._lock(plans)
        changed = self._change(plans, stored)
        if self._run_id is not None:
            kept = {fact.id: stored[fact.id] for plan in plans for fact in plan.kept if fact.id in stored}
            note_asserted(self._facts, kept, self._changes, self._run_id)
        self._regroup(plans)
        added = self._add(plans)
        removed = self._remove(plans)
        self._observe(plans)
        counts = {plan.held.id: self._counts(plan, changed) for plan in plans}
        changes = [*removed, *self._changes.values()]
        record(self._session, self._project_id, changes, self._run_id, Counts.total(counts.values()))
        sources = [
            ReplacedSource(
                plan.held.id,
                plan.facts.source_uri,
                counts[plan.held.id],
                gone=not plan.wanted,
                facts=self._changed_facts(plan, changed) if self._is_dry else None,
            )
            for plan in plans
        ]
        return Replaced(sources, [*self._job_ids, *added])

    def _lock(self, plans: Sequence[_Plan]) -> StoredFacts:
        """Lock the facts to change or remove, in one statement: transactions must not deadlock."""
        ids = [id_ for plan in plans for id_ in plan.removed]
        for plan in plans:
            ids += [
                fact.id
                for fact in plan.kept
                if self._run_id is not None or differs(fact.assertion, plan.assertion(fact.id))
            ]
        return self._facts.find_batch(ids, locked=True)

    def _change(self, plans: Sequence[_Plan], locked: StoredFacts) -> set[ExtractionId]:
        """Update the facts whose assertions differ, and return their ids."""
        wanted = {fact.id: plan.assertion(fact.id) for plan in plans for fact in plan.kept if fact.id in locked}
        changed = {id_ for id_, now in wanted.items() if differs(locked[id_].assertion, now)}
        self._facts.assert_batch({id_: wanted[id_] for id_ in changed})
        for id_ in changed:
            self._changes[locked[id_].source_id].changed[id_] = locked[id_].assertion
        payloads = [id_ for id_ in changed if differs_in_payload(locked[id_].assertion, wanted[id_])]
        regrouped = [plan.held.id for plan in plans if plan.is_regrouped]
        self._job_ids += queue_payloads(self._session, self._project_id, payloads, regrouped)
        return changed

    def _regroup(self, plans: Sequence[_Plan]) -> None:
        groups = {plan.held.id: plan.group for plan in plans if plan.group != plan.held.group}
        SourceRepository(self._session).regroup(groups)
        for plan in plans:
            if plan.is_regrouped:
                self._changes[plan.held.id].group = (plan.held.group, plan.group)
                unchanged = {fact.id for fact in plan.kept} - self._changes[plan.held.id].changed.keys()
                self._changes[plan.held.id].regrouped = len(unchanged)

    def _observe(self, plans: Sequence[_Plan]) -> None:
        moments: dict[datetime, list[SourceId]] = {}
        for plan in plans:
            if plan.observed_at != plan.held.observed_at:
                moments.setdefault(plan.observed_at, []).append(plan.held.id)
                if self._run_id is not None or plan.held.id in self._changes:
                    self._changes[plan.held.id].observed_at = (plan.held.observed_at, plan.observed_at)
        for moment, ids in moments.items():
            SourceRepository(self._session).set_observed_at(ids, moment)

    def _add(self, plans: Sequence[_Plan]) -> list[JobId]:
        new = []
        for plan in plans:
            if not plan.added:
                continue
            self._changes[plan.held.id].added += plan.added
            new += [
                new_extraction(
                    id_, self._project_id, plan.held.id, plan.wanted[id_], plan.assertion(id_), self._run_id
                )
                for id_ in plan.added
            ]
        create_facts(self._session, new)
        jobs = (
            queue_embedding(self._session, self._project_id, page) for page in pages([each.id for each in new])
        )
        return [job for job in jobs if job is not None]

    def _remove(self, plans: Sequence[_Plan]) -> list[SourceChanges]:
        """Remove the facts that weren't given; large removals get ledger entries of their own."""
        entries, gone = list[SourceChanges](), list[ExtractionId]()
        for removed in self._facts.iter_removed([id_ for plan in plans for id_ in plan.removed]):
            listed = min(len(gone), self._room)
            gone += [fact.id for fact in removed]
            for fact in removed[: self._room - listed] if self._is_dry else ():
                self._removed.setdefault(fact.source_id, []).append(fact)
            entries += self._noted(removed)
        self._job_ids += [queue_vectors_deletion(self._session, page, self._project_id) for page in pages(gone)]
        return entries

    def _noted(self, removed: Sequence[RemovedFact]) -> list[SourceChanges]:
        """Note removed facts: a source's first batch joins its other changes; return the rest."""
        full = {id_ for id_, change in self._changes.items() if change.removed}
        further = ChangesBySource()
        for fact in removed:
            (further if fact.source_id in full else self._changes)[fact.source_id].removed.append(fact)
        return list(further.values())

    def _changed_facts(self, plan: _Plan, changed: Collection[ExtractionId]) -> list[ChangedFact]:
        """List what a plan adds, changes and removes, while there is room."""
        altered = [fact.id for fact in plan.kept if plan.is_regrouped or fact.id in changed]
        of_items = [(ChangeKind.ADDED, plan.added), (ChangeKind.CHANGED, altered)]
        of_removed = self._removed.get(plan.held.id, ())
        given = (
            ChangedFact(kind, id_, plan.wanted[id_].extraction_type, plan.wanted[id_].data)
            for kind, ids in of_items
            for id_ in ids
        )
        removed = (
            ChangedFact(ChangeKind.REMOVED, fact.id, fact.extraction_type, fact.data) for fact in of_removed
        )
        listed = list(islice(chain(given, removed), self._room))
        self._room -= len(listed)
        return listed

    def _counts(self, plan: _Plan, changed: Collection[ExtractionId]) -> Counts:
        kept = len(plan.kept)
        altered = sum(fact.id in changed for fact in plan.kept) if changed else 0
        altered = kept if plan.is_regrouped else altered
        return Counts(len(plan.added), altered, kept - altered, len(plan.removed))


def _plan(  # noqa: PLR0913, PLR0917 - what the plan is made of
    project_id: ProjectId,
    facts: SourceFacts,
    held: HeldSource,
    stored: StoredFacts,
    options: ReplaceOptions,
    now: datetime,
) -> _Plan:
    given = facts.observed_at or options.observed_at
    if given is not None and held.observed_at is not None and given < held.observed_at:
        raise StaleReplace(facts.source_uri, given, held.observed_at)
    observed_at = given or max(now, held.observed_at or now)
    wanted = {extraction_id_of(project_id, item): item for item in facts.items}
    return _Plan(
        facts,
        held,
        stored,
        wanted,
        observed_at,
        group=facts.source_group if facts.items else held.group,
        added=[id_ for id_ in wanted if id_ not in stored],
        kept=[fact for id_, fact in stored.items() if id_ in wanted],
        removed=[id_ for id_ in stored if id_ not in wanted],
    )


def _check(session: WriteSession, plans: Sequence[_Plan], guard: MassDeleteGuard) -> None:
    unmeant = [plan for plan in plans if not plan.facts.gone]
    for plan in unmeant:
        guard.check_source(plan.facts.source_uri, len(plan.removed), len(plan.stored))
    guard.check_project(session, sum(len(plan.removed) for plan in unmeant))


def _by_source(facts: StoredFacts) -> dict[SourceId, StoredFacts]:
    found: dict[SourceId, StoredFacts] = {}
    for id_, fact in facts.items():
        found.setdefault(fact.source_id, {})[id_] = fact
    return found
