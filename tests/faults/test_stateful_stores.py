"""After any sequence of events the stores end equal, and no row is ever lost.

The sequences aren't drawn by Hypothesis: with few examples, it spends most of them on variations of
one another, and on runs with almost no events.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Engine
from support.examples import examples
from support.faulty_client import When
from support.qdrant_modes import REAL_SERVERS, Contract, settings_of_real
from support.two_stores import ALL, CALM, ENDS, HARM, Event, Processes, Stall, TwoStores, two_processes

from app.settings.sections import QdrantSettings

WAYS = (
    "",
    "delete run",
    "delete return run",
    "overtake return run",
    "delete run return",
    "overtake delete run",
    "lapse delete run return run",
    "return run",
)
"""What can go on during a stall, in the orders that are known to matter."""

WHENS = [When(call, done) for call in (1, 2) for done in (False, True)]
STALLS = 4


def draw_stalls(random: Random) -> list[Stall]:
    """Draw stalls; two of three sequences have only events that need no repair."""
    possible = CALM + HARM * (random.random() < 0.33)
    names = random.sample(possible, random.randint(4, len(possible)))

    def meanwhile() -> list[Event]:
        if random.random() < 0.5:
            return _events(random.choice(WAYS))
        events = []
        for name in random.choices(names, k=random.randrange(5)):
            events.append(Event(name, _numbers(random), random.choice(WHENS)))
            if random.random() < 0.5:
                events.append(Event("run"))
        return events

    return [
        Stall(
            random.choice(["papers", "papers", "notes"]),
            random.choice(WHENS),
            random.choice([*ENDS, "wake up", "wake up"]),
            meanwhile(),
            settled=random.random() < 0.8,
        )
        for _ in range(STALLS)
    ]


def _numbers(random: Random) -> list[int]:
    return [*ALL] if random.random() < 0.7 else random.sample(ALL, random.randint(1, 2))


def _events(way: str) -> list[Event]:
    return [Event(name) for name in way.split()]


def failure_of(processes: Processes, stalls: list[Stall]) -> Exception | None:
    try:
        TwoStores(processes).go_through(stalls)
    except Exception as error:  # noqa: BLE001 - any failure is shrunk
        return error
    return None


def shortened(stalls: list[Stall]) -> Iterator[list[Stall]]:
    """Without one of the stalls, or without one of the events."""
    for place, stall in enumerate(stalls):
        before, after = stalls[:place], stalls[place + 1 :]
        yield before + after
        for number in range(len(stall.meanwhile)):
            events = [*stall.meanwhile[:number], *stall.meanwhile[number + 1 :]]
            yield [*before, stall._replace(meanwhile=events), *after]


def shortest(processes: Processes, stalls: list[Stall]) -> list[Stall]:
    """What still fails, and would not with anything left out."""
    for shorter in shortened(stalls):
        if failure_of(processes, shorter) is not None:
            return shortest(processes, shorter)
    return stalls


def settings_of(mode: Contract, folder: Path) -> QdrantSettings:
    if mode in REAL_SERVERS:
        return settings_of_real(mode, collection=f"stateful-{uuid.uuid4().hex[:12]}")
    return QdrantSettings(mode="memory" if mode == "memory" else "embedded", path=str(folder / "qdrant"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["memory", "embedded", *REAL_SERVERS])
def test_the_stores_end_equal(engine: Engine, tmp_path: Path, mode: Contract) -> None:
    with two_processes(engine, settings_of(mode, tmp_path), tmp_path) as processes:
        for _ in range(examples(25)):
            stalls = draw_stalls(Random())  # noqa: S311 - no secret
            if (failure := failure_of(processes, stalls)) is not None:
                failure.add_note(f"after {shortest(processes, stalls)}")
                raise failure
        if mode in REAL_SERVERS:
            processes.client.delete_collection()


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_stalled_job_and_what_goes_on_meanwhile(sqlite_engine: Engine, tmp_path: Path, way: str) -> None:
    """In a job that embeds, then in one that deletes."""
    with two_processes(sqlite_engine, settings_of("memory", tmp_path), tmp_path) as processes:
        for when in WHENS[1:3]:
            for end in ("wake up", "die"):
                stall = Stall("papers", when, end, _events(way))
                TwoStores(processes).go_through([stall, stall])
