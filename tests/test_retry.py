import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.retry import GaveUp, RetryPolicy, parse_retry_after, retrying


class Passing(Exception):  # noqa: N818 - the failure's kind
    def __init__(self, least_s: float = 0.0) -> None:
        self.least_s = least_s


def judge(error: Exception) -> float | None:
    return error.least_s if isinstance(error, Passing) else None


def failing(*errors: Exception, seen: list[float] | None = None) -> Callable[[float], Awaitable[str]]:
    """An attempt that raises the errors in turn, then succeeds; ``seen`` gets the seconds left."""
    remaining = list(errors)

    async def attempt(left_s: float) -> str:
        if seen is not None:
            seen.append(left_s)
        if remaining:
            raise remaining.pop(0)
        return "done"

    return attempt


EAGER = RetryPolicy(total_s=30, first_delay_s=0)


async def test_a_success_is_returned_and_not_tried_again() -> None:
    seen: list[float] = []
    assert await retrying(EAGER, failing(seen=seen), retry_after=judge) == "done"
    assert seen == [pytest.approx(30, abs=1)]


async def test_passing_failures_are_tried_again() -> None:
    seen: list[float] = []
    attempt = failing(Passing(), Passing(), Passing(), seen=seen)
    assert await retrying(EAGER, attempt, retry_after=judge) == "done"
    assert len(seen) == 4


async def test_any_other_failure_surfaces_at_once_and_unchanged() -> None:
    seen: list[float] = []
    final = KeyError("no such thing")
    with pytest.raises(KeyError) as caught:
        await retrying(EAGER, failing(Passing(), final, Passing(), seen=seen), retry_after=judge)
    assert caught.value is final
    assert len(seen) == 2


async def test_out_of_time_it_gives_up_and_chains_the_last_failure() -> None:
    last: list[Passing] = []

    async def attempt(_left_s: float) -> None:
        await asyncio.sleep(0.01)
        last.append(Passing())
        raise last[-1]

    with pytest.raises(GaveUp, match=r"gave up after \d+ tries within 0\.2 s") as caught:
        await retrying(RetryPolicy(total_s=0.2, first_delay_s=0.001), attempt, retry_after=judge)
    assert caught.value.__cause__ is last[-1]
    assert caught.value.tries == len(last) > 1


async def test_the_seconds_left_count_from_the_ask() -> None:
    seen: list[float] = []

    async def attempt(left_s: float) -> None:
        seen.append(left_s)
        await asyncio.sleep(0.02)
        if len(seen) < 4:
            raise Passing

    await retrying(RetryPolicy(total_s=10, first_delay_s=0), attempt, retry_after=judge)
    assert seen == sorted(seen, reverse=True)
    assert seen[0] - seen[-1] >= 0.06


async def test_a_server_that_asks_for_a_pause_gets_it() -> None:
    loop = asyncio.get_running_loop()
    asked = loop.time()
    await retrying(EAGER, failing(Passing(0.15), Passing(0.1)), retry_after=judge)
    assert loop.time() - asked >= 0.25


async def test_a_pause_past_the_deadline_is_not_begun() -> None:
    loop = asyncio.get_running_loop()
    asked = loop.time()
    with pytest.raises(GaveUp, match="after 1 try within 30 s"):
        await retrying(EAGER, failing(Passing(3600)), retry_after=judge)
    assert loop.time() - asked < 20


async def test_cancelling_ends_the_pause() -> None:
    task = asyncio.create_task(retrying(EAGER, failing(Passing(20)), retry_after=judge))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@given(tries=st.integers(1, 5000), first=st.floats(0, 10), most=st.floats(0, 60))
def test_a_pause_keeps_to_its_bounds(tries: int, first: float, most: float) -> None:
    pause_s = RetryPolicy(total_s=1, first_delay_s=first, max_delay_s=most).pause_s(tries)
    assert 0 <= pause_s <= most
    assert tries > 1 or pause_s <= first


def test_pauses_are_spread_over_their_whole_range() -> None:
    policy = RetryPolicy(total_s=1, first_delay_s=1, max_delay_s=8)
    pauses = [policy.pause_s(3) for _ in range(2000)]
    assert min(pauses) < 0.5
    assert max(pauses) > 3.5
    assert max(pauses) <= 4


@pytest.mark.parametrize("values", [(0,), (-1,), (1, -0.1), (1, 0.1, -1)])
def test_a_policy_without_sense_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="not a retry policy"):
        RetryPolicy(*values)


def test_a_retry_after_header_is_read_by_number_and_by_date() -> None:
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert parse_retry_after("7") == 7
    assert parse_retry_after(" 0.5 ") == 0.5
    assert parse_retry_after(in_a_minute) == pytest.approx(60, abs=3)


@pytest.mark.parametrize(
    "header", [None, "", "-5", "soon", "nan", "Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 99 Dec"]
)
def test_a_retry_after_header_without_sense_asks_for_no_pause(header: str | None) -> None:
    assert parse_retry_after(header) == 0


def test_a_retry_after_that_never_ends_is_past_every_deadline() -> None:
    assert parse_retry_after("inf") == float("inf")
