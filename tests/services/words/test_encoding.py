"""Terms as tokens, which every database takes alike."""

import re
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.ids import ProjectId
from app.services.words.encoding import MAX_TERMS, TOKEN_CHARS, TokenEncoder, as_counts, as_numbers

HERE, THERE = ProjectId(UUID(int=1)), ProjectId(UUID(int=2))
TERMS = st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), st.integers(1, 100), max_size=30)


@given(TERMS)
def test_what_is_stored_says_how_often_each_term_occurs(terms: dict[str, int]) -> None:
    encoder = TokenEncoder()
    encoded = encoder.encode(HERE, terms, 7)
    tokens = encoded.tokens.split()
    assert (encoded.length, encoded.left_out) == (7, 0)
    assert tokens == sorted(set(tokens))
    assert all(re.fullmatch(f"[a-z2-7]{{{TOKEN_CHARS}}}", token) for token in tokens)
    stored = dict(zip(tokens, as_counts(encoded.counts), strict=True))
    assert stored == {
        token: min(count, 35) for token, count in zip(encoder.tokens(HERE, terms), terms.values(), strict=True)
    }


@given(TERMS)
def test_tokens_as_numbers_are_apart_as_they_are(terms: dict[str, int]) -> None:
    tokens = TokenEncoder().encode(HERE, terms, 1).tokens
    numbers = as_numbers(tokens)
    assert numbers.shape == (len(tokens.split()),)
    assert len(np.unique(numbers)) == len(numbers)
    assert [number.tobytes().decode() for number in numbers] == tokens.split()


def test_projects_share_no_token() -> None:
    encoder, terms = TokenEncoder(), [f"term{n}" for n in range(5_000)]
    assert not set(encoder.tokens(HERE, terms)) & set(encoder.tokens(THERE, terms))


def test_another_process_makes_the_same_tokens() -> None:
    """They are stored: other ones would find nothing of what is."""
    assert TokenEncoder().tokens(HERE, ["bread", "xr-4471-b", "東京"]) == ["r6zx3gwm", "r2ufyxew", "3umf7h75"]


def test_what_is_remembered_is_bounded_and_stays_right() -> None:
    encoder = TokenEncoder()
    first = encoder.tokens(HERE, ["first"])
    for start in range(0, 450_000, 50_000):
        encoder.tokens(HERE, [f"term{n}" for n in range(start, start + 50_000)])
        assert sum(map(len, encoder._of_projects.values())) <= 250_001
    assert encoder.tokens(HERE, ["first"]) == first


def test_of_too_many_terms_the_first_are_kept() -> None:
    encoder, terms = TokenEncoder(), {f"term{n}": 1 for n in range(MAX_TERMS + 3)}
    encoded = encoder.encode(HERE, terms, len(terms))
    assert encoded.left_out == 3
    assert set(encoded.tokens.split()) == set(encoder.tokens(HERE, list(terms)[:MAX_TERMS]))
    assert len(encoded.tokens) < 2**20, "a tsvector has no room for more"


def test_nothing_is_encoded_as_nothing() -> None:
    assert TokenEncoder().encode(HERE, {}, 0) == ("", "", 0, 0)
    assert as_numbers("").shape == as_counts("").shape == (0,)


@pytest.mark.parametrize("count", [1, 9, 10, 35])
def test_a_count_is_read_as_it_was_written(count: int) -> None:
    assert as_counts(TokenEncoder().encode(HERE, {"x": count}, count).counts).tolist() == [count]
