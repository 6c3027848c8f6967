"""Two sorted streams of pages, walked in step."""

from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from app.services.side_by_side import side_by_side

KEYS = st.sets(st.integers(0, 60).map("{:03}".format), max_size=40).map(sorted)


async def pages(keys: list[str], size: int) -> AsyncIterator[dict[str, str]]:
    for start in range(0, len(keys), size):
        yield {key: key.upper() for key in keys[start : start + size]}


@given(KEYS, KEYS, st.integers(1, 7), st.integers(1, 7))
async def test_each_member_comes_once_beside_those_of_the_same_keys(
    left: list[str], right: list[str], size: int, other_size: int
) -> None:
    found_left, found_right = list[str](), list[str]()
    async for lefts, rights in side_by_side(pages(left, size), pages(right, other_size)):
        assert lefts or rights
        assert (len(lefts) <= size, len(rights) <= other_size) == (True, True)
        assert set(lefts) & set(right) == set(rights) & set(left)
        found_left += lefts
        found_right += rights
    assert (found_left, found_right) == (left, right)


async def test_pages_out_of_order_are_walked_through_all_the_same() -> None:
    """A vector store whose ids are ordered otherwise costs second looks, and hides nothing."""
    found = [each async for each in side_by_side(pages(["3", "1", "2", "0"], 2), pages(["1", "0", "2"], 1))]
    assert sorted(key for lefts, _ in found for key in lefts) == ["0", "1", "2", "3"]
    assert sorted(key for _, rights in found for key in rights) == ["0", "1", "2"]
