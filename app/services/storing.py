"""Store new and changed extractions in a transaction, with their jobs and ledger entries."""

from collections.abc import Iterable, Sequence

from app.database import WriteSession
from app.domain.ids import ExtractionId, ProjectId, RunId, SourceId
from app.domain.items import Item, extraction_id_of
from app.domain.outcomes import Accepted, Counts
from app.services.creating import create_facts
from app.services.jobs.queueing import queue_embedding, queue_payloads
from app.services.storage.repositories.extraction import NewExtraction
from app.services.storage.repositories.facts import Assertion, FactRepository, StoredFacts, differs
from app.services.storage.repositories.ledger import ChangesBySource, LedgerRepository, SourceChanges
from app.services.storage.repositories.project import ProjectRepository
from app.services.storage.repositories.run import RunRepository
from app.services.storage.repositories.source import SourceRepository, StoredSources


def store(
    session: WriteSession,
    project: str,
    project_id: ProjectId,
    items: Sequence[Item],
    run_id: RunId | None = None,
) -> Accepted:
    """Store the new items, and update stored extractions where the items differ."""
    ProjectRepository(session).get_or_create(project)
    if run_id is not None:
        RunRepository(session).require_open(project_id, run_id)
    sources = SourceRepository(session).create_batch(
        project_id, [(item.source_uri, item.source_group) for item in items]
    )
    ids = [extraction_id_of(project_id, item) for item in items]
    facts = FactRepository(session)
    stored = facts.find_batch(_perhaps_stored(sources, ids, items))
    wanted = _last_assertions(zip(ids, items, strict=True))
    fresh = [
        new_extraction(id_, project_id, sources.ids[item.source_uri], item, wanted[id_], run_id)
        for id_, item in dict(zip(ids, items, strict=True)).items()
        if id_ not in stored
    ]
    new = create_facts(session, fresh)
    if len(new) < len(fresh):  # another transaction has just stored the others
        stored |= facts.find_batch([each.id for each in fresh if each.id not in new])
    changes = _changes_of(sources, [each for each in fresh if each.id in new])
    changed = _assert(facts, stored, wanted, changes, run_id)
    regrouped = {id_ for id_ in stored.keys() - changed if stored[id_].source_id in sources.regrouped}
    payloads = {id_ for id_ in changed if differs_in_payload(stored[id_].assertion, wanted[id_])}
    payload_job_ids = queue_payloads(session, project_id, payloads, sources.regrouped)
    job_id = queue_embedding(session, project_id, [each.id for each in fresh if each.id in new])
    for source_id, group in sources.regrouped.items():
        changes[source_id].group = group
    for id_ in regrouped:
        changes[stored[id_].source_id].regrouped += 1
    changed |= regrouped
    counts = Counts(len(new), len(changed), len(stored) - len(changed))
    record(session, project_id, changes.values(), run_id, counts)
    return Accepted(ids, new, job_id, changed, payload_job_ids)


def new_extraction(  # noqa: PLR0913, PLR0917 - each is a column
    id_: ExtractionId,
    project_id: ProjectId,
    source_id: SourceId,
    item: Item,
    assertion: Assertion,
    run_id: RunId | None,
) -> NewExtraction:
    """The row for an item that isn't stored yet."""
    return NewExtraction(
        id=id_,
        project_id=project_id,
        source_id=source_id,
        extraction_type=item.extraction_type,
        data=item.data,
        confidence=assertion.confidence,
        metadata=assertion.metadata,
        first_run_id=run_id,
        last_run_id=run_id,
    )


def record(
    session: WriteSession,
    project_id: ProjectId,
    changes: Iterable[SourceChanges],
    run_id: RunId | None,
    counts: Counts,
) -> None:
    """Write the ledger, and update the run's counts.

    Call it last in a transaction: from then on, other writers of the project wait for it.
    """
    LedgerRepository(session).append(project_id, changes, run_id)
    if run_id is not None:
        RunRepository(session).count(run_id, counts)


def note_asserted(
    facts: FactRepository,
    stored: StoredFacts,
    changes: ChangesBySource,
    run_id: RunId,
) -> None:
    """Store the run with the extractions it asserts; the ledger gets the previous runs."""
    others = [fact for fact in stored.values() if fact.last_run_id != run_id]
    facts.set_last_run([fact.id for fact in others], run_id)
    for fact in others:
        changes[fact.source_id].asserted.setdefault(fact.last_run_id, []).append(fact.id)


def _perhaps_stored(
    sources: StoredSources, ids: Sequence[ExtractionId], items: Sequence[Item]
) -> list[ExtractionId]:
    """The ids that may be stored: all except those of new sources, which had no extractions."""
    if len(sources.new) == len(sources.ids):
        return []
    return [
        id_ for id_, item in zip(ids, items, strict=True) if sources.ids[item.source_uri] not in sources.new
    ]


def _last_assertions(items: Iterable[tuple[ExtractionId, Item]]) -> dict[ExtractionId, Assertion]:
    """What the items assert; if items contradict each other, the last one counts."""
    wanted: dict[ExtractionId, Assertion] = {}
    for id_, item in items:
        now = Assertion(item.confidence, item.metadata)
        wanted[id_] = _over(wanted[id_], now) if id_ in wanted else now
    return wanted


def _over(before: Assertion, now: Assertion) -> Assertion:
    """Overlay ``now`` on ``before``; values that ``now`` leaves out stay."""
    return Assertion(
        before.confidence if now.confidence is None else now.confidence,
        before.metadata if now.metadata is None else now.metadata,
    )


def _changes_of(sources: StoredSources, new: Iterable[NewExtraction]) -> ChangesBySource:
    changes = ChangesBySource()
    for source_id in sources.new:
        changes[source_id].is_new = True
    for extraction in new:
        changes[extraction.source_id].added.append(extraction.id)
    return changes


def _assert(
    facts: FactRepository,
    stored: StoredFacts,
    wanted: dict[ExtractionId, Assertion],
    changes: ChangesBySource,
    run_id: RunId | None,
) -> set[ExtractionId]:
    """Update stored facts where the items differ, and return their ids.

    ``stored`` keeps the facts as they were before.
    """
    wanted |= {id_: _over(fact.assertion, wanted[id_]) for id_, fact in stored.items()}
    different = [id_ for id_, fact in stored.items() if differs(fact.assertion, wanted[id_])]
    if locked := facts.find_batch(stored if run_id else different, locked=True):
        stored |= locked
    changed = {id_ for id_ in different if id_ in locked and differs(stored[id_].assertion, wanted[id_])}
    facts.assert_batch({id_: wanted[id_] for id_ in changed})
    for id_ in changed:
        changes[stored[id_].source_id].changed[id_] = stored[id_].assertion
    if run_id is not None:
        note_asserted(facts, locked, changes, run_id)
    return changed


def differs_in_payload(before: Assertion, now: Assertion) -> bool:
    """Whether Qdrant's payload changes; it holds the confidence but no metadata."""
    return before.confidence != now.confidence
