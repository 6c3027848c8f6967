"""Replacing sources: added, changed, kept and removed facts, the jobs, and rejections."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from support.backends import CONNECTIONS
from support.facts import fact, replaced
from support.faults import compared
from support.parts import index_all, open_container

from app.domain.filters import Filters
from app.domain.ids import ExtractionId, JobId, project_id_of
from app.domain.items import extraction_id_of
from app.domain.outcomes import Counts, Replaced
from app.domain.sources import ReplaceOptions, ReplaceScope, SourceFacts, SourceFilters
from app.errors import (
    IdempotencyConflict,
    InvalidField,
    MassDeleteRefused,
    NotFound,
    RunEnded,
    SourceRepeated,
    StaleReplace,
)
from app.models import Base, Job
from app.services import ingestion
from containers import Container

PROJECT = "papers"
MONDAY, TUESDAY = (datetime(2026, 1, day, tzinfo=UTC) for day in (5, 6))
PLAIN = ReplaceOptions()
ALL = ReplaceOptions(ReplaceScope.PROJECT)


@pytest.fixture
def container(tmp_path: Path, engine: Engine) -> Iterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        yield container


def facts(
    uri: str, *texts: str, line: int = 1, observed_at: datetime | None = None, **members: Any
) -> SourceFacts:
    return SourceFacts(uri, [fact(uri, text, **members) for text in texts], observed_at=observed_at, line=line)


def gone(uri: str) -> SourceFacts:
    return SourceFacts(uri, (), gone=True)


def numbered(uri: str, *numbers: int) -> SourceFacts:
    return facts(uri, *(f"fact {number}" for number in numbers))


async def replace(
    container: Container,
    *sources: SourceFacts,
    options: ReplaceOptions = PLAIN,
    key: str | None = None,
) -> Replaced:
    return await container.ingestion().replace(PROJECT, sources, options, key=key)


async def stored(container: Container) -> dict[tuple[str, str], tuple[float | None, object, str | None]]:
    """By source and text: confidence, metadata and group."""
    rows = await container.extractions().list(PROJECT, Filters(), limit=1_000)
    return {
        (row.source_uri, row.data["fact_text"]): (row.confidence, row.metadata, row.source_group)
        for row in rows
    }


def everything(engine: Engine, *, without: Sequence[str] = ()) -> dict[str, list[str]]:
    with Session(engine) as session:
        return {
            table.name: sorted(repr(row) for row in session.execute(select(*table.c)).all())
            for table in Base.metadata.sorted_tables
            if table.name not in without
        }


def jobs(engine: Engine, ids: Sequence[JobId]) -> list[tuple[str, set[str]]]:
    """Each by its type, and the extractions that it is about."""
    with Session(engine) as session:
        return [
            (job.type, set(job.payload["extraction_ids"]))
            for job in session.scalars(select(Job).where(Job.id.in_(ids)).order_by(Job.type))
        ]


def ids(uri: str, *texts: str) -> set[str]:
    return {str(_id(uri, text)) for text in texts}


def _id(uri: str, text: str) -> ExtractionId:
    return extraction_id_of(project_id_of(PROJECT), fact(uri, text))


async def test_facts_become_exactly_those_given(container: Container, engine: Engine) -> None:
    """What a fact leaves out is cleared, and each job is about no more than it has to be."""
    page = {"page": 1}
    before = [
        fact("a", "kept", confidence=0.5, metadata=page, source_group="g"),
        fact("a", "surer", confidence=0.5, metadata=page),
        fact("a", "elsewhere", confidence=0.5, metadata=page),
        fact("a", "bare", confidence=0.5, metadata=page),
        fact("a", "gone", confidence=0.5),
    ]
    await replace(container, SourceFacts("a", before), facts("b", "not named"))
    after = [
        fact("a", "kept", confidence=0.5, metadata=page, source_group="g"),
        fact("a", "surer", confidence=0.9, metadata=page),
        fact("a", "elsewhere", confidence=0.5, metadata={"page": 2}),
        fact("a", "bare"),
        fact("a", "new", confidence=0.1),
    ]
    done = await replace(container, SourceFacts("a", after))
    assert done.counts == Counts(added=1, changed=3, unchanged=1, removed=1)
    [source] = done.sources
    assert (source.source_uri, source.counts, source.gone) == ("a", done.counts, False)
    assert await stored(container) == {
        ("a", "kept"): (0.5, page, "g"),
        ("a", "surer"): (0.9, page, "g"),
        ("a", "elsewhere"): (0.5, {"page": 2}, "g"),
        ("a", "bare"): (None, None, "g"),
        ("a", "new"): (0.1, None, "g"),
        ("b", "not named"): (None, None, None),
    }
    assert jobs(engine, done.job_ids) == [
        ("delete_vectors", ids("a", "gone")),
        ("embed", ids("a", "new")),
        ("update_payload", ids("a", "surer", "bare")),
    ]


async def test_a_group_is_the_last_one_given(container: Container, engine: Engine) -> None:
    await replace(container, facts("a", "one", "two", source_group="old"))
    given = SourceFacts(
        "a", [fact("a", "one", source_group="x"), fact("a", "two", source_group="new"), fact("a", "3")]
    )
    done = await replace(container, given)
    assert done.counts == Counts(added=1, changed=2)
    assert {group for _, _, group in (await stored(container)).values()} == {"new"}
    assert ("update_payload", ids("a", "one", "two")) in jobs(engine, done.job_ids)
    assert (await replace(container, facts("a", "one", "two", "3"))).counts.changed == 3, "it is cleared"
    assert {group for _, _, group in (await stored(container)).values()} == {None}


async def test_a_source_that_is_gone_is_known_and_keeps_its_group(container: Container) -> None:
    await replace(container, facts("a", "one", source_group="g"), facts("b", "two"))
    done = await replace(container, gone("a"))
    assert [source.gone for source in done.sources] == [True]
    assert await stored(container) == {("b", "two"): (None, None, None)}
    [source] = await container.sources().list(PROJECT, SourceFilters(gone=True))
    assert (source.uri, source.group, source.extractions) == ("a", "g", 0)


async def test_the_scope_of_the_project_empties_what_isnt_named(container: Container) -> None:
    await replace(container, *(facts(uri, "one", "two") for uri in "abc"), facts("never", "x"))
    await replace(container, gone("never"))
    done = await replace(container, facts("a", "one", "two"), facts("b", "two", "three"), options=ALL)
    assert [(each.source_uri, each.counts) for each in done.sources] == [
        ("a", Counts(unchanged=2)),
        ("b", Counts(added=1, unchanged=1, removed=1)),
        ("c", Counts(removed=2)),
    ]
    assert {uri for uri, _ in await stored(container)} == {"a", "b"}


async def test_a_stream_empties_the_rest_at_its_end_only(container: Container) -> None:
    await replace(container, *(facts(uri, "one", "two") for uri in "abc"))
    stream = container.ingestion().replacing(PROJECT, ALL)
    await stream.take([facts("a", "three")])
    await stream.take([facts("new", "four")])
    assert {uri for uri, _ in await stored(container)} == {"a", "b", "c", "new"}
    rest = await stream.finish()
    assert {each.source_uri for each in rest.sources} == {"b", "c"}
    assert {uri for uri, _ in await stored(container)} == {"a", "new"}


@pytest.mark.parametrize("scope", ReplaceScope)
async def test_a_dry_run_tells_the_same_and_writes_nothing(
    container: Container, engine: Engine, scope: ReplaceScope
) -> None:
    await replace(container, facts("a", "one", "two"), facts("b", "three"), facts("c", "four"))
    given = [facts("a", "one", "five", confidence=0.5), gone("b"), facts("new", "six")]
    before = everything(engine)
    told = await replace(container, *given, options=ReplaceOptions(scope, dry_run=True), key="key")
    assert everything(engine) == before
    assert told.job_ids == []
    stream = container.ingestion().replacing(PROJECT, ReplaceOptions(scope, dry_run=True))
    parts = [(await stream.take([each])) for each in given]
    parts.append(await stream.finish())
    assert sum(parts, Replaced()).sources == told.sources
    assert everything(engine) == before
    done = await replace(container, *given, options=ReplaceOptions(scope), key="key")
    assert done.sources == [each._replace(facts=None) for each in told.sources]
    listed = Counter(str(fact.kind) for each in told.sources for fact in each.facts or ())
    assert (listed["added"], listed["changed"], listed["removed"]) == (
        told.counts.added,
        told.counts.changed,
        told.counts.removed,
    )


@pytest.mark.parametrize(("room", "listed"), [(0, (0, 0)), (1, (1, 0)), (3, (3, 0)), (4, (3, 1)), (9, (3, 2))])
async def test_a_dry_run_lists_the_first_facts_and_counts_all(
    container: Container, monkeypatch: pytest.MonkeyPatch, room: int, listed: tuple[int, int]
) -> None:
    monkeypatch.setattr(ingestion, "MOST_LISTED", room)
    await replace(container, facts("a", "one", "two"), facts("b", "three", "four"))
    stream = container.ingestion().replacing(PROJECT, ReplaceOptions(ReplaceScope.PROJECT, dry_run=True))
    parts = [await stream.take([facts("a", "five")]), await stream.finish()]
    assert tuple(part.listed for part in parts) == listed
    assert [part.counts for part in parts] == [Counts(added=1, removed=2), Counts(removed=2)]
    whole = ReplaceOptions(ReplaceScope.PROJECT, dry_run=True)
    told = await replace(container, facts("a", "five"), options=whole)
    assert (told.listed, told.counts.removed) == (min(room, 5), 4)
    told = await replace(container, facts("a", "five"), facts("b", "six"), options=whole)
    assert (told.listed, told.counts) == (min(room, 6), Counts(added=2, removed=4))


@pytest.mark.parametrize(
    ("had", "kept", "removed"),
    [(20, 0, None), (21, 0, 21), (40, 20, None), (41, 20, 21), (42, 21, None), (100, 50, None), (100, 49, 51)],
)
async def test_most_facts_of_a_source_go_only_if_that_is_allowed(
    container: Container, engine: Engine, had: int, kept: int, removed: int | None
) -> None:
    await replace(container, numbered("a", *range(had)), numbered("b", *range(200)))
    fewer = numbered("a", *range(kept))
    if removed is not None:
        before = everything(engine)
        with pytest.raises(
            MassDeleteRefused, match=f"remove {removed} of the {had} facts of source 'a'"
        ) as refused:
            await replace(container, fewer)
        assert (refused.value.removed, refused.value.of) == (removed, had)
        assert everything(engine) == before
    allowed = ReplaceOptions(allow_mass_delete=removed is not None)
    assert (await replace(container, fewer, options=allowed)).counts.removed == had - kept


async def test_most_facts_of_the_project_go_only_if_that_is_allowed(
    container: Container, engine: Engine
) -> None:
    """Of each source too few go to be asked about."""
    await replace(container, *(numbered(f"s{each}", *range(10)) for each in range(8)))
    before = everything(engine)
    with pytest.raises(MassDeleteRefused, match="remove at least 50 of the 80 facts of project 'papers'"):
        await replace(container, *(numbered(f"s{each}", 20) for each in range(5)))
    with pytest.raises(MassDeleteRefused, match="remove at least 60 of the 80 facts of project 'papers'"):
        await replace(container, *(numbered(f"s{each}", *range(10)) for each in range(2)), options=ALL)
    assert everything(engine) == before
    await replace(container, *(numbered(f"s{each}", 20) for each in range(4)))
    assert len(await stored(container)) == 44


async def test_what_is_gone_is_meant(container: Container) -> None:
    await replace(container, numbered("a", *range(60)), numbered("b", *range(30)))
    assert (await replace(container, gone("a"))).counts.removed == 60
    with pytest.raises(MassDeleteRefused, match="30 of the 30 facts of source 'b'"):
        await replace(container, SourceFacts("b", ()))


async def test_an_older_observation_is_refused(container: Container, engine: Engine) -> None:
    tuesday = ReplaceOptions(observed_at=TUESDAY)
    await replace(container, facts("a", "one"), options=tuesday)
    before = everything(engine)
    for given, options in (
        (facts("a", "two", observed_at=MONDAY), ReplaceOptions()),
        (facts("a", "two", observed_at=MONDAY), tuesday),
        (facts("a", "two"), ReplaceOptions(observed_at=MONDAY)),
        (facts("a", "two"), ReplaceOptions(observed_at=TUESDAY - timedelta(microseconds=1))),
    ):
        with pytest.raises(StaleReplace, match="2026-01-06T00:00:00"):
            await replace(container, facts("b", "other"), given, options=options)
    assert everything(engine) == before
    await replace(container, facts("a", "two"), options=tuesday)
    await replace(
        container, facts("a", "three", observed_at=TUESDAY), options=ReplaceOptions(observed_at=MONDAY)
    )
    assert list(await stored(container)) == [("a", "three")]
    await replace(container, facts("a", "four"))
    with pytest.raises(StaleReplace):
        await replace(container, facts("a", "five"), options=tuesday)


async def test_a_source_twice_is_refused(container: Container, engine: Engine) -> None:
    before = everything(engine)
    given = [facts("a", "one", line=1), facts("b", "two", line=4), facts("a", "three", line=7)]
    with pytest.raises(SourceRepeated, match="line 7: source 'a' was at line 1"):
        await replace(container, *given)
    assert everything(engine) == before
    stream = container.ingestion().replacing(PROJECT, ReplaceOptions())
    await stream.take(given[:2])
    with pytest.raises(SourceRepeated) as refused:
        await stream.take(given[2:])
    assert (refused.value.first_line, refused.value.line) == (1, 7)
    assert set(await stored(container)) == {("a", "one"), ("b", "two")}


async def test_a_request_sent_again_gets_the_same_answer(container: Container, engine: Engine) -> None:
    await replace(container, facts("a", "one", "two"), facts("c", "three"))
    given = facts("a", "one", "four", confidence=0.5)
    first = await replace(container, given, options=ALL, key="key")
    assert first.counts == Counts(added=1, changed=1, removed=2)
    before = everything(engine)
    assert await replace(container, given, options=ALL, key="key") == first
    for other, options in (
        (facts("a", "one", "four", confidence=0.6), ALL),
        (facts("a", "one", "four", confidence=0.5, metadata={"page": 1}), ALL),
        (facts("a", "one"), ALL),
        (gone("a"), ALL),
        (given, ReplaceOptions()),
        (given, ReplaceOptions(ReplaceScope.PROJECT, observed_at=TUESDAY)),
    ):
        with pytest.raises(IdempotencyConflict):
            await replace(container, other, options=options, key="key")
    assert everything(engine) == before
    for key in ("", "k" * 256):
        with pytest.raises(InvalidField, match="Idempotency-Key"):
            await replace(container, given, key=key)


async def test_a_stream_that_broke_is_taken_up_again(container: Container, engine: Engine) -> None:
    await replace(container, *(facts(uri, "one", "two") for uri in "abc"))
    parts = [facts("a", "three"), facts("b", "four")]
    broken = container.ingestion().replacing(PROJECT, ALL, key="key")
    first = await broken.take(parts[:1])
    again = container.ingestion().replacing(PROJECT, ALL, key="key")
    assert await again.take(parts[:1]) == first
    await again.take(parts[1:])
    rest = await again.finish()
    assert [each.source_uri for each in rest.sources] == ["c"]
    before = everything(engine)
    third = container.ingestion().replacing(PROJECT, ALL, key="key")
    assert [await third.take(parts[:1]), (await third.take(parts[1:])).counts, await third.finish()] == [
        first,
        Counts(added=1, removed=2),
        rest,
    ]
    assert everything(engine) == before


async def test_a_run_counts_what_it_does(container: Container) -> None:
    await replaced(container, "a", "one", "two")
    run = await container.runs().begin(PROJECT, "run")
    await replaced(container, "a", "two", "three", run_id=run.id)
    await container.ingestion().accept(
        PROJECT, [fact("a", "two", confidence=0.5), fact("a", "4")], run_id=run.id
    )
    await replaced(container, "a", run_id=run.id)
    row = await container.runs().get(PROJECT, "run")
    assert (row.added, row.changed, row.unchanged, row.removed) == (2, 1, 1, 4)
    await container.runs().end(PROJECT, run.id)
    with pytest.raises(RunEnded):
        await replaced(container, "a", "one", run_id=run.id)
    other = await container.runs().begin("another", "run")
    with pytest.raises(NotFound):
        await replaced(container, "a", "one", run_id=other.id)


async def test_a_fact_knows_its_first_run_and_its_last(container: Container) -> None:
    runs = [(await container.runs().begin(PROJECT, name)).id for name in ("first", "second", "third")]
    await replaced(container, "a", "always", "once", run_id=runs[0])
    await replaced(container, "a", "always", "once", "new", run_id=runs[1])
    await replaced(container, "a", "always", "once", "new")
    await container.ingestion().accept(PROJECT, [fact("a", "always")], run_id=runs[2])
    rows = await container.extractions().list(PROJECT, Filters())
    assert {row.data["fact_text"]: (row.first_run_id, row.last_run_id) for row in rows} == {
        "always": (runs[0], runs[2]),
        "once": (runs[0], runs[1]),
        "new": (runs[1], runs[1]),
    }


async def test_what_is_unchanged_leaves_nothing_to_write(container: Container, engine: Engine) -> None:
    """Without a run there isn't even a ledger entry; with a run, only its assertion is noted."""
    given = facts("a", "one", "two", metadata={"b": 1, "a": [1.0, None]}, confidence=0.3, source_group="g")
    await replace(container, given)
    before = everything(engine, without=["sources"])
    done = await replace(container, given)
    assert (done.counts, done.job_ids) == (Counts(unchanged=2), [])
    assert everything(engine, without=["sources"]) == before
    run = await container.runs().begin(PROJECT, "run")
    done = await replace(container, given, options=ReplaceOptions(run_id=run.id))
    assert (done.counts, done.job_ids) == (Counts(unchanged=2), [])
    assert (await container.changes().of_run(PROJECT, run.id)).changes == []


@pytest.mark.needs(CONNECTIONS)
async def test_replaces_of_the_same_sources_at_once_come_one_after_the_other(container: Container) -> None:
    """All sources are as in one of the replaces, and every reported change has happened."""
    await container.indexing().prepare()
    uris = ["a", "b", "c", "d"]

    def world(number: int) -> list[SourceFacts]:
        order = uris[number % 4 :] + uris[: number % 4]
        return [
            facts(uri, "same", *(f"{number} {each}" for each in range(10)), confidence=number / 10)
            for uri in order
        ]

    for scope in ReplaceScope:
        options = ReplaceOptions(scope, allow_mass_delete=True)
        done = await asyncio.gather(
            *(replace(container, *world(number), options=options) for number in range(8))
        )
        now = await stored(container)
        assert len(now) == 44
        assert len({text.split()[0] for _, text in now if text != "same"}) == 1
        assert len({confidence for confidence, _, _ in now.values()}) == 1
        counts = sum((each.counts for each in done), Counts())
        assert counts.added - counts.removed == (44 if scope == ReplaceScope.SOURCE else 0)
    await index_all(container)
    found = await compared(container)
    assert (found.remaining, found.extractions, found.points) == (0, 44, 44)
