"""How much a page of rows holds, so that any number of large extractions fits into memory."""

PAGE_BYTES = 8 * 2**20
"""The most JSON data on a page of several rows; a larger row is a page alone."""

_MOST_ROWS = 1_000


def rows_that_fit(rows: int, taken_bytes: int) -> int:
    """How many rows fit on the next page, if they are as large as the last page's ``rows``."""
    return max(1, min(_MOST_ROWS, PAGE_BYTES * rows // max(1, taken_bytes)))
