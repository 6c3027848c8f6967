"""The text of conditions: what it means, what is printed, and how mistakes are told."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import conditions as drawn

from app.domain.conditions import (
    MAX_DEPTH,
    MAX_TERMS,
    And,
    Compare,
    Condition,
    Contains,
    Exists,
    Field,
    In,
    InData,
    InMetadata,
    Not,
    Op,
    Or,
    Path,
    Starts,
)
from app.errors import InvalidCondition, InvalidField
from app.intake.where_text import MAX_CHARS, parse_path, parse_where, write_path, write_where


def data(*keys: str) -> Path:
    return InData(keys)


def equals(key: str, value: Any) -> Compare:
    return Compare(data(key), Op.EQ, value)


A, B, C = (Exists(data(key)) for key in "abc")

READ: list[tuple[str, Condition]] = [
    ('country in ("DE", "FR")', In(data("country"), ("DE", "FR"))),
    ("country IN(DE,FR)", In(data("country"), ("DE", "FR"))),
    ("price.amount exists", Exists(data("price", "amount"))),
    ('sku starts "XR-44"', Starts(data("sku"), "XR-44")),
    ('not (tags contains "indoor")', Not(Contains(data("tags"), "indoor"))),
    ("not tags contains indoor", Not(Contains(data("tags"), "indoor"))),
    ("valid_from >= 2025-01-01", Compare(data("valid_from"), Op.GE, datetime(2025, 1, 1, tzinfo=UTC))),
    ('valid_from >= "2025-01-01"', Compare(data("valid_from"), Op.GE, "2025-01-01")),
    ('"http.method" = "GET"', equals("http.method", "GET")),
    (
        'type = "product" and confidence > 0.8',
        And((Compare(Field("type"), Op.EQ, "product"), Compare(Field("confidence"), Op.GT, 0.8))),
    ),
    ("variants.color = red", Compare(data("variants", "color"), Op.EQ, "red")),
    ("sku=XR-44", equals("sku", "XR-44")),
    ("price.amount>=100", Compare(data("price", "amount"), Op.GE, 100)),
    ("term=dog", equals("term", "dog")),
    ("a!=1", Compare(data("a"), Op.NE, 1)),
    ("a<1", Compare(data("a"), Op.LT, 1)),
    (" a\n<=\t1 ", Compare(data("a"), Op.LE, 1)),
    ("data.type = x", equals("type", "x")),
    ("data.data = x", equals("data", "x")),
    ("metadata.page = 3", Compare(InMetadata(("page",)), Op.EQ, 3)),
    ("metadata.data.x = 3", Compare(InMetadata(("data", "x")), Op.EQ, 3)),
    ("type.name = x", Compare(data("type", "name"), Op.EQ, "x")),
    ('"type" = x', Compare(Field("type"), Op.EQ, "x")),
    ("Type = x", equals("Type", "x")),
    ('a."b.c".d = x', Compare(data("a", "b.c", "d"), Op.EQ, "x")),
    ('"" exists', Exists(data(""))),
    ("O'Brien = O'Brien", equals("O'Brien", "O'Brien")),
    ("'in' = 'and'", equals("in", "and")),
    ("a.in.or exists", Exists(data("a", "in", "or"))),
    ("größe = groß", equals("größe", "groß")),
    ("cafe\u0301 = e\u0301", equals("caf\u00e9", "\u00e9")),
    (r'a = "x\"\\\/\b\f\n\r\t\u00e9\ud83e\uddea\'"', equals("a", "x\"\\/\b\f\n\r\té\U0001f9ea'")),
    ("a = 'say \"x\"'", equals("a", 'say "x"')),
    ('a = "line\nbreak"', equals("a", "line\nbreak")),
    ("a = https://x.example/a?b#c", equals("a", "https://x.example/a?b#c")),
    ("a = .*+?^$|{}\\d", equals("a", ".*+?^$|{}\\d")),
    (
        "run = 00000000-0000-0000-0000-00000000000A",
        Compare(Field("run"), Op.EQ, "00000000-0000-0000-0000-00000000000a"),
    ),
    # words that are values
    ("a = true", equals("a", value=True)),
    ("a = FALSE", equals("a", value=False)),
    ("a = Null", equals("a", None)),
    ('a = "null"', equals("a", "null")),
    ("a = -1", equals("a", -1)),
    ("a = 1.0", equals("a", 1.0)),
    ("a = 1e3", equals("a", 1000.0)),
    ("a = -2.5E-3", equals("a", -0.0025)),
    ("a = 9223372036854775807", equals("a", 2**63 - 1)),
    ("a = -9223372036854775808", equals("a", -(2**63))),
    ("a = 007", equals("a", "007")),
    ("a = +49", equals("a", "+49")),
    ("a = 1.", equals("a", "1.")),
    ("a = ٣", equals("a", "٣")),
    ("a = NaN", equals("a", "NaN")),
    ("a = 2025-01-31T08:30+02:00", equals("a", datetime(2025, 1, 31, 6, 30, tzinfo=UTC))),
    ("a = 2025-01-31-b", equals("a", "2025-01-31-b")),
    # how they are joined
    ("a exists and b exists or c exists", Or((And((A, B)), C))),
    ("a exists or b exists and c exists", Or((A, And((B, C))))),
    ("a exists And (b exists OR c exists)", And((A, Or((B, C))))),
    ("not a exists and b exists", And((Not(A), B))),
    ("not(a exists and b exists)", Not(And((A, B)))),
    ("NOT not a exists", Not(Not(A))),
    ("(((a exists)))", A),
    ("(a exists and b exists) and c exists", And((And((A, B)), C))),
    ("a exists and b exists and c exists", And((A, B, C))),
]


@pytest.mark.parametrize(("text", "condition"), READ, ids=[text for text, _ in READ])
def test_a_text_is_a_condition(text: str, condition: Condition) -> None:
    assert repr(parse_where(text)) == repr(condition)  # in which 1, 1.0 and True differ


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (In(data("country"), ("DE", 1, 1.0, None, True)), 'country in ("DE", 1, 1.0, null, true)'),
        (Not(Contains(data("tags"), "indoor")), 'not (tags contains "indoor")'),
        (Not(Not(A)), "not not (a exists)"),
        (Or((And((A, B)), Not(C))), "a exists and b exists or not (c exists)"),
        (And((Or((A, B)), C)), "(a exists or b exists) and c exists"),
        (And((And((A, B)), C)), "(a exists and b exists) and c exists"),
        (Or((A, Or((B, C)))), "a exists or (b exists or c exists)"),
        (
            Compare(Field("created"), Op.LT, datetime(2025, 1, 31, 8, tzinfo=UTC)),
            "created < 2025-01-31T08:00:00Z",
        ),
        (Compare(Field("created"), Op.LT, datetime(2025, 1, 31, tzinfo=UTC)), "created < 2025-01-31"),
        (equals("a", "2025-01-31"), 'a = "2025-01-31"'),
        (Starts(data("a"), 'x"\\\n'), r'a starts "x\"\\\n"'),
    ],
)
def test_a_condition_is_printed_to_be_read(condition: Condition, text: str) -> None:
    assert write_where(condition) == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (Field("type"), "type"),
        (data("type"), "data.type"),
        (data("type", "name"), "type.name"),
        (data("data"), "data.data"),
        (data("metadata", "x"), "data.metadata.x"),
        (InMetadata(("type",)), "metadata.type"),
        (data("a", "b.c", "with blank", ""), 'a."b.c"."with blank".""'),
        (data("in"), '"in"'),
        (data("0"), '"0"'),
        (data("x-y_z", "größe"), "x-y_z.größe"),
    ],
)
def test_a_path_is_printed_as_it_is_read(path: Path, text: str) -> None:
    assert write_path(path) == text
    assert parse_path(text) == path


@given(drawn.conditions)
@example(equals("a", -0.0))
@example(equals("a", 1e16))
@example(equals("a", 5e-324))
@example(equals("\u0338", "\u0338"))
def test_what_is_printed_is_read_back(condition: Condition) -> None:
    assert repr(parse_where(write_where(condition))) == repr(condition)


@given(
    st.text()
    | st.lists(st.sampled_from([*"()=<>!,.\"'\\ ", "a", "and", "not", "in", "exists", "5", "2025-02-30"])).map(
        " ".join
    )
)
def test_any_text_is_a_condition_or_refused_at_a_place_in_it(text: str) -> None:
    found = read_or_refused(text)
    if isinstance(found, InvalidCondition):
        assert 1 <= found.place <= len(text) + 1
        assert found.field == "where"
    else:
        assert repr(parse_where(write_where(found))) == repr(found)


def read_or_refused(text: str) -> Condition | InvalidCondition:
    try:
        return parse_where(text)
    except InvalidCondition as error:
        return error


REFUSED = [
    ("", 1, "expected a field or a path, not the end"),
    ("  ", 3, "expected a field or a path, not the end"),
    (
        "price",
        6,
        "expected an operator, not the end; there are =, !=, <, <=, >, >=, in, contains, exists, starts",
    ),
    ("price 5", 7, "there is no operator '5'"),
    ("(a = 1", 7, "expected 'and', 'or' or ')', not the end"),
    ("a = 1)", 6, "expected 'and', 'or' or the end, not ')'"),
    ("()", 2, "expected a field or a path, not ')'"),
    ("a =", 4, "expected a value, not the end"),
    ("a = )", 5, "expected a value, not ')'"),
    ("a = 1 and", 10, "expected a field or a path, not the end"),
    ("a = 1 or or b = 2", 10, "expected a field or a path, not 'or'; write a key with that name in quotes"),
    ("a = and", 5, "expected a value, not 'and'; write that text in quotes"),
    ("a = in", 5, "expected a value, not 'in'"),
    ("a == 1", 3, "there is no operator '=='; did you mean '='?"),
    ("a <> 1", 3, "there is no operator '<>'; did you mean '!='?"),
    ("a => 1", 3, "there is no operator '=>'; did you mean '>='?"),
    ("a contain x", 3, "there is no operator 'contain'; did you mean 'contains'?"),
    ("a startswith x", 3, "there is no operator 'startswith'; did you mean 'starts'?"),
    ("a EXIST", 3, "there is no operator 'exist'; did you mean 'exists'?"),
    ("a like x", 3, "there is no operator 'like'; there are ="),
    ("a not in (1)", 3, "expected an operator, not 'not'; write it before the path"),
    ("a exists not", 10, "expected 'and', 'or' or the end, not 'not'"),
    ("a = 1 adn b = 2", 7, "not 'adn'; did you mean 'and'?"),
    ("a = red wine", 9, "not 'wine'; write a text of several words in quotes"),
    ("a = red b = 1", 9, "expected 'and', 'or' or the end, not 'b'"),
    (
        "url=http://x?a=1",
        15,
        "expected 'and', 'or' or the end, not '='; write a text with these characters in quotes",
    ),
    ("a in 1", 6, "expected '(' and values after 'in', not '1'"),
    ("a in ()", 7, "expected a value, not ')'"),
    ("a in (1, )", 10, "expected a value, not ')'"),
    ("a in (1 2)", 9, "expected ',' or ')', not '2'"),
    ("a in (1, 2", 11, "expected ',' or ')', not the end"),
    ("a..b = 1", 3, "expected a key, not '.b'"),
    (".a = 1", 1, "expected a field or a path, not '.a'"),
    (
        "a = .*[",
        7,
        "expected 'and', 'or' or the end, not '['; write a text with these characters in quotes",
    ),
    ("'it''s' exists", 5, "there is no operator"),
    ("a. = 1", 3, "expected a key, not ' '"),
    ("a . b = 1", 3, "there is no operator '.'"),
    ("a[0].b = 1", 2, "expected an operator, not '['"),
    ("!(a = 1)", 1, "expected a field or a path, not '!'"),
    ('a = "x', 5, 'the text that begins here has no closing "'),
    ("a = 'x\"", 5, "the text that begins here has no closing '"),
    (r'a = "x\d"', 7, r"there is no escape '\\d'; write a backslash as two of them"),
    (r'a = "\u12"', 6, r"there is no escape '\\u'"),
    (r'a = "\ud800"', 5, "a text contains half a surrogate pair"),
    (r'a = "\u0000"', 5, "a text contains the character U+0000"),
    ("data exists", 1, "data needs a key after it; write data.NAME, or data.data for a key named data"),
    ("metadata = x", 1, "metadata needs a key after it; write metadata.NAME, or data.metadata for"),
    ("a = 2025-02-30", 5, "'2025-02-30' isn't a valid time; write a time as 2025-01-31"),
    ("a = 2025-01-01T25:00", 5, "'2025-01-01T25:00' isn't a valid time"),
    ("a = 9223372036854775808", 5, "an integer has at most 64 bits"),
    ("a = " + "9" * 12_000, 5, "an integer has at most 64 bits"),
    ("a = 1e400", 5, "a number is finite, not inf"),
    ("a = " + "x" * 12_000, 5, "a text has 12,000 characters; at most 10,000"),
    ("a" + ".a" * 64 + " exists", 1, "a path has at most 64 keys, not 65"),
    ("b = 1 and type = 5", 18, "type is a text, and never the number 5; write it in quotes"),
    ("group = null", 9, "group is never null; write not (group exists)"),
    ("created > yesterday", 11, "created is a time, such as 2025-01-31, and never the text 'yesterday'"),
    ("a starts 44", 1, "what a text starts with is a text, not the number 44; write it in quotes"),
    ("a < null", 1, "< compares texts, numbers and times, and null is none of them"),
]


@pytest.mark.parametrize(("text", "place", "problem"), REFUSED, ids=[text[:30] for text, *_ in REFUSED])
def test_a_mistake_is_told_with_its_place(text: str, place: int, problem: str) -> None:
    with pytest.raises(InvalidCondition) as caught:
        parse_where(text)
    error = caught.value
    assert problem in error.problem
    assert error.place == place
    assert f"where: at character {place:,}, near " in str(error)
    assert len(str(error)) < 500


def test_the_text_around_a_mistake_is_told() -> None:
    text = f"{' ' * 100}price ~ 5{' ' * 100}"
    with pytest.raises(InvalidCondition) as caught:
        parse_where(text)
    assert caught.value.near.strip("… ") == "price ~ 5"
    assert len(caught.value.near) == 42


class TestBounds:
    def test_the_length(self) -> None:
        assert parse_where("a = 1".ljust(MAX_CHARS)) == equals("a", 1)
        for parse in (parse_where, parse_path):
            with pytest.raises(InvalidField, match="has 1,000,000 characters; at most 20,000 are allowed"):
                parse("a" * 1_000_000)

    def test_the_terms(self) -> None:
        assert parse_where(" or ".join(["type=x"] * MAX_TERMS)).size.terms == MAX_TERMS
        with pytest.raises(InvalidCondition, match="has 1,001 terms"):
            parse_where(" or ".join(["type=x"] * (MAX_TERMS + 1)))

    @pytest.mark.parametrize(
        "nested",
        [
            Not,
            lambda inner: And((inner, A)),
            lambda inner: Or((A, inner)),
            lambda inner: And((Or((inner, B)), A)) if inner.size.depth < 31 else Not(inner),
        ],
    )
    def test_the_deepest_condition_is_printed_and_read_back(
        self, nested: Callable[[Condition], Condition]
    ) -> None:
        condition: Condition = A
        while condition.size.depth < MAX_DEPTH:
            condition = nested(condition)
        assert condition.size.depth == MAX_DEPTH
        assert parse_where(write_where(condition)) == condition

    @pytest.mark.parametrize("opening", ["(", "not ", "not("])
    def test_nothing_is_nested_deeper(self, opening: str) -> None:
        with pytest.raises(InvalidCondition, match="nested at most 32 deep") as caught:
            parse_where(opening * 4_000)
        assert caught.value.place > MAX_DEPTH


def seconds(text: str) -> float:
    """The least time of this thread's own that reading takes."""
    taken = []
    for _ in range(3):
        started = time.thread_time()
        read_or_refused(text)
        taken.append(time.thread_time() - started)
    return min(taken)


@pytest.mark.parametrize(
    "part",
    [
        "a=1 or ",
        "(",
        "not ",
        '"',
        '\\"',
        'a="\\',
        "'\\\\",
        "a.",
        ".",
        " ",
        "x",
        "9",
        "=",
        "a in (1,",
        "e\u0301",
        "2025-01-01T",
        "-1e",
    ],
)
@pytest.mark.parametrize("opening", ["", "a=", 'a="', "a in (1,1", "a"])
def test_reading_takes_a_time_that_grows_with_the_text_alone(opening: str, part: str) -> None:
    """Ten times the text takes some ten times as long; a square would be a hundred."""
    short, long = ((opening + part * MAX_CHARS)[:length] for length in (MAX_CHARS // 10, MAX_CHARS))
    assert seconds(long) < 40 * max(seconds(short), 0.001)
