"""Which texts are times, and of which instant."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.times import in_utc, time_of, write_time


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-01-31", datetime(2025, 1, 31, tzinfo=UTC)),
        ("2024-02-29", datetime(2024, 2, 29, tzinfo=UTC)),
        ("2025-01-31T08:30", datetime(2025, 1, 31, 8, 30, tzinfo=UTC)),
        ("2025-01-31 08:30", datetime(2025, 1, 31, 8, 30, tzinfo=UTC)),
        ("2025-01-31T08:30:15Z", datetime(2025, 1, 31, 8, 30, 15, tzinfo=UTC)),
        ("2025-01-31T08:30:15.5", datetime(2025, 1, 31, 8, 30, 15, 500_000, tzinfo=UTC)),
        ("2025-01-31T08:30:15.123456789Z", datetime(2025, 1, 31, 8, 30, 15, 123_456, tzinfo=UTC)),
        ("2025-01-31T00:30+02:00", datetime(2025, 1, 30, 22, 30, tzinfo=UTC)),
        ("2025-01-31T23:30:00-15:59", datetime(2025, 2, 1, 15, 29, tzinfo=UTC)),
        ("0001-01-01", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_a_date_or_a_date_and_time_is_an_instant_in_utc(text: str, moment: datetime) -> None:
    found = time_of(text)
    assert found == moment
    assert found is not None
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2025",
        "2025-01",
        "2025-1-31",
        "20250131",
        "2025-W05-5",
        "2025-02-30",
        "2025-02-29",
        "2025-13-01",
        "0000-01-01",
        "2025-01-31T",
        "2025-01-31t08:30",
        "2025-01-31T08",
        "2025-01-31T24:00",
        "2025-01-31T08:60",
        "2025-01-31T08:30:60",
        "2025-01-31T08:30:15.",
        "2025-01-31T08:30:15,5",
        "2025-01-31T08:30:15.1234567891",
        "2025-01-31T08:30z",
        "2025-01-31T08:30+0200",
        "2025-01-31T08:30+16:00",
        "2025-01-31Z",
        "2025-01-31  08:30",
        " 2025-01-31",
        "2025-01-31\n",
        "\u0662\u0660\u0662\u0665-01-31",
        "0001-01-01T00:00+01:00",
        "9999-12-31T23:59-00:01",
    ],
)
def test_any_other_text_is_none(text: str) -> None:
    assert time_of(text) is None


@given(st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=-5, minutes=-30))])))
def test_what_is_written_is_read_back(moment: datetime) -> None:
    try:
        expected = in_utc(moment)
    except OverflowError:
        return
    assert time_of(write_time(expected)) == expected


def test_midnight_is_written_as_a_date() -> None:
    assert write_time(datetime(2025, 1, 31, tzinfo=UTC)) == "2025-01-31"
    assert write_time(datetime(2025, 1, 31, 8, 30, tzinfo=UTC)) == "2025-01-31T08:30:00Z"
    assert write_time(datetime(2025, 1, 31, 0, 0, 0, 1, tzinfo=UTC)) == "2025-01-31T00:00:00.000001Z"
