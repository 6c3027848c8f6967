import json
import time
import timeit
from collections.abc import Callable
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import URL

from app.settings.masking import MASK, as_text, masked, masked_text, masked_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///data/a.db", "sqlite:///data/a.db"),
        ("sqlite:////srv/me@home/a.db", "sqlite:////srv/me@home/a.db"),
        ("postgresql://me@db/x", "postgresql://me@db/x"),
        ("postgresql://me:s3cret@db:5432/x", f"postgresql://me:{MASK}@db:5432/x"),
        (
            "postgresql+psycopg://me:s3cret@db/x?connect_timeout=3",
            f"postgresql+psycopg://me:{MASK}@db/x?connect_timeout=3",
        ),
        ("postgresql://:s3cret@db/x", f"postgresql://:{MASK}@db/x"),
        ("postgresql://me:s3@cret/@db/x", f"postgresql://me:{MASK}@db/x"),
        ("postgresql:///x?host=/tmp&password=s3cret", f"postgresql:///x?host=/tmp&password={MASK}"),
        ("postgresql:///x?pass%77ord=s3cret&user=me", f"postgresql:///x?pass%77ord={MASK}&user=me"),
        ("postgresql:///x?sslpassword=s3@cret&sslmode=require", f"postgresql://{MASK}"),
        ("postgresql://me:czM=@db/x?password=s3cret", f"postgresql://me:{MASK}@db/x?password={MASK}"),
        ("postgresql://me:s3?password=cret@db/x", f"postgresql://{MASK}"),
        ("sqlite:///data/key=value.db", "sqlite:///data/key=value.db"),
        ("http://localhost:6333", "http://localhost:6333"),
        ("https://s3cret@cloud:6333", f"https://{MASK}@cloud:6333"),
        ("https://me:s3cret@cloud", f"https://{MASK}@cloud"),
        ("https://cloud/?api_key=s3cret&api-key=s3cret", f"https://cloud/?api_key={MASK}&api-key={MASK}"),
        ("me:s3cret@db/x", f"{MASK}@db/x"),
        ("host=db password=s3cret", MASK),
        ("", ""),
        ("no url at all", "no url at all"),
    ],
)
def test_shows_a_url_without_its_secrets(url: str, shown: str) -> None:
    assert masked_url(url) == shown


@settings(deadline=None)
@given(st.text(min_size=1).map(lambda text: f"<{text}>"), st.sampled_from(["postgresql", "postgresql+psycopg"]))
def test_no_password_survives_in_a_url_sqlalchemy_wrote(password: str, scheme: str) -> None:
    url = URL.create(scheme, "me", password, "db", 5432, "x", {"password": password, "application_name": "a@b"})
    written = url.render_as_string(hide_password=False)
    encoded = {written.split("me:")[1].split("@")[0], written.split("password=")[1]}
    shown = masked_url(written)
    assert shown.startswith(f"{scheme}://me:{MASK}@")
    assert not any(part in shown for part in encoded)


MIDDLE = st.lists(st.sampled_from([*"/:@#?&=;[]{}%+!$ xY0", "password", "api_key", "://"]), max_size=12).map(
    "".join
)


@settings(deadline=None)
@given(MIDDLE)
def test_no_password_survives_however_it_is_written(middle: str) -> None:
    assert "hunter2" not in masked_url(f"postgresql://me:hunter2{middle}hunter2@db/x")
    assert "hunter2" not in masked_url(f"https://hunter2{middle}hunter2@cloud/x")


@settings(deadline=None)
@given(MIDDLE, MIDDLE)
def test_no_secret_parameter_survives_whatever_stands_around_it(before: str, after: str) -> None:
    url = f"postgresql://me:{before}@db/x?sslpassword=hunter2{after.replace('&', '')}"
    assert "hunter2" not in masked_url(url)


@settings(deadline=None)
@given(st.text())
def test_masking_twice_changes_nothing_more(text: str) -> None:
    assert masked_url(masked_url(text)) == masked_url(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "can't reach postgresql://me:s3cret@db/x: refused",
            f"can't reach postgresql://me:{MASK}@db/x: refused",
        ),
        ("at 'https://s3cret@cloud', later", f"at 'https://{MASK}@cloud', later"),
        ("postgresql+psycopg://me:s'3 cret@db/x is away", f"postgresql+psycopg://me:{MASK}@db/x is away"),
        ("GET http://q:6333/collections by me@home", "GET http://q:6333/collections by me@home"),
        ("postgresql:///x?password=s3cret&sslmode=off", f"postgresql:///x?password={MASK}&sslmode=off"),
        ("host=db password=s3cret user=me", f"host=db password={MASK} user=me"),
        ("password='s3 cret' user=me", f"password={MASK} user=me"),
        ("password='s3 cret\nnext", f"password={MASK}\nnext"),
        ('{"api_key": "s3\\"cret", "n": 1}', f'{{"api_key": {MASK}, "n": 1}}'),
        (r'raise E("{\"api_key\": \"s3 cret\"}")', rf'raise E("{{\"api_key\": {MASK}}}")'),
        ("X-API-Key: s3cret", f"X-API-Key: {MASK}"),
        ("Authorization: Bearer s3cret, Accept: */*", f"Authorization: Bearer {MASK}, Accept: */*"),
        ("'authorization': 'Basic s3cret'", f"'authorization': 'Basic {MASK}'"),
        ("bearer s3cret", f"bearer {MASK}"),
        ("the key: of 5 tokens", "the key: of 5 tokens"),
        ("", ""),
    ],
)
def test_shows_a_text_without_its_secrets(text: str, shown: str) -> None:
    assert masked_text(text) == shown
    assert masked_text(shown) == shown


@settings(deadline=None)
@given(st.text(min_size=1, max_size=30).map(lambda text: f"<{text}>"), st.text(), st.text())
def test_no_password_survives_in_the_midst_of_a_text(password: str, before: str, after: str) -> None:
    url = URL.create("postgresql", "me", password, "db", 5432, "x").render_as_string(hide_password=False)
    encoded = url.split("me:")[1].split("@")[0]
    assert encoded not in masked_text(f"{before} {url} {after}").replace(before, "").replace(after, "")


def best_of_three(work: Callable[[str], object], text: str) -> float:
    """The seconds of this thread that it takes, however busy the machine is."""
    return min(timeit.repeat(lambda: work(text), number=1, repeat=3, timer=time.thread_time))


@pytest.mark.slow
@pytest.mark.parametrize("part", ["a.", "token='", "postgresql://a:", "token ", '"', "\\", "bearer "])
def test_a_long_text_takes_no_time(part: str) -> None:
    """Ten times the text takes about ten times as long; quadratic time would be a hundred."""
    short, long = (best_of_three(masked_text, part * count) for count in (10_000, 100_000))
    assert long < 40 * short


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (5, 5),
        (True, True),
        (0.5, 0.5),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (10**30, 10**30),
        (date(2024, 1, 2), "2024-01-02"),
        ("plain", "plain"),
        (SecretStr("s3cret"), MASK),
        ((SecretStr("a"), SecretStr("b")), [MASK, MASK]),
        (("text", "summary"), ["text", "summary"]),
        ({"password": "s3cret"}, MASK),
        ({"password": 12345}, MASK),
        ({"embed": 5.0, "verify": "s3cret"}, MASK),
        ({"embed": 5.0, "verify": float("inf")}, {"embed": 5.0, "verify": "inf"}),
        ({}, {}),
        ([["s3cret"]], [MASK]),
        (b"s3cret", MASK),
    ],
)
def test_masks_secrets_and_what_may_hold_one(value: object, shown: object) -> None:
    assert masked(value) == shown


def test_a_number_python_would_not_write_out_is_shown_in_words() -> None:
    assert masked(16**5000) == "a huge number"


@pytest.mark.parametrize("value", ["s3cret", 12345, 1.5, True, {"a": "s3cret"}])
def test_masks_every_value_of_a_secret_setting(value: object) -> None:
    assert masked(value, secret=True) == MASK
    assert masked([value, value], secret=True) == [MASK, MASK]


def test_a_secret_setting_without_a_value_shows_so() -> None:
    assert masked(None, secret=True) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain text", "plain text"),
        ("", '""'),
        (" padded ", '" padded "'),
        ("two\nlines", '"two\\nlines"'),
        ("\udcff", '"\\udcff"'),
        ("é", "é"),
        (None, "null"),
        (["a", "b"], '["a", "b"]'),
        (float("nan"), "NaN"),
    ],
)
def test_writes_a_value_on_one_line(value: object, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.slow
@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_any_value_becomes_one_short_printable_line(value: object) -> None:
    text = as_text(masked(value))
    assert text.isprintable()
    assert 0 < len(text) <= 201


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.tuples(inner),
    )
)
def test_what_is_shown_can_always_be_json(value: object) -> None:
    assert json.dumps(masked(value), allow_nan=False)
