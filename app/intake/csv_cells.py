"""Converts the text of CSV cells to values."""

import re
import shlex
from collections.abc import Callable

from app.errors import InvalidField, InvalidInput
from app.intake.exact_json import decode
from app.intake.mapping import OBJECTS, ColumnMapping, Path

MOST_DIGITS = 15
"""How many digits a cell may have to be recognized as a number.

Every reader of JSON keeps that many, and card numbers have more.
"""

_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WITH_COMMA = re.compile(r"[+-]?[0-9][0-9.]{0,30},[0-9]{1,30}")
_WORDS = {"true": True, "false": False, "null": None}
_TOLD_CHARS = 60


Cells = Callable[[str], object]
"""Reads a nonempty cell of a column; raises :class:`InvalidInput` for an invalid one."""


class CellsByLook:
    """Reads a cell as number, true, false or null if JSON would write it exactly so, else as text.

    So ``007``, ``1.50``, ``1,5`` and ``+49`` are texts, and no digit of an identifier is lost. A
    number has 15 digits at most.
    """

    def __init__(self, column: str) -> None:
        self._column = column
        self._any_number = False
        self._text: str | None = None
        self._comma: str | None = None
        self._commas = 0

    def __call__(self, cell: str) -> object:
        """Convert the cell to the type that it looks like."""
        if cell in _WORDS:
            return _WORDS[cell]
        if cell[0] not in "-+.0123456789":
            return cell
        number = _plain_number(cell)
        if number is not None:
            self._any_number = True
            return number
        if self._text is None and _NUMBER.fullmatch(cell):
            self._text = cell
        if _WITH_COMMA.fullmatch(cell):
            self._comma = self._comma or cell
            self._commas += 1
        return cell

    @property
    def remark(self) -> str | None:
        """A remark for the user if texts of the column look like numbers that others write."""
        name = shlex.quote(self._column)
        if self._comma is not None:
            return (
                f"The column {self._column!r} has numbers with a comma ({self._commas:,}), such as {self._comma!r}, "
                f"which were kept as text. Write decimals with a point to compare and sort them as numbers; --text {name} "
                "takes all as text."
            )
        if self._text is None or not (self._any_number or "." in self._text):
            return None
        numbers = "numbers, and some" if self._any_number else "no numbers, but"
        return (
            f"The column {self._column!r} has {numbers} cells that were kept as text to preserve their digits, such "
            f"as {self._text[:_TOLD_CHARS]!r}. --number {name} takes all as numbers, --text {name} as text."
        )


def cells_of(column: str, path: Path, mapping: ColumnMapping) -> Cells:
    """Return the reader for the cells of a column that goes to ``path``."""
    field = ".".join(path)
    if column in mapping.texts:
        return _text
    if column in mapping.numbers or path == ("confidence",):
        return _numbers(field)
    if path[0] in OBJECTS:
        return _json(field) if len(path) == 1 else CellsByLook(column)
    return _truths(field) if path == ("gone",) else _text


def constant_of(path: Path, text: str) -> object:
    """Convert a text from the command line to a value for ``path``.

    Raises:
        InvalidInput: the text isn't valid there.
    """
    return cells_of("", path, ColumnMapping())(text) if text else text


def _text(cell: str) -> object:
    return cell


def _plain_number(cell: str) -> float | None:
    if not _PLAIN.fullmatch(cell) or sum(map(str.isdigit, cell)) > MOST_DIGITS:
        return None
    number: float = float(cell) if "." in cell else int(cell)
    return number if str(number) == cell else None


def _numbers(field: str) -> Cells:
    def number(cell: str) -> object:
        text = cell.strip()
        if not _NUMBER.fullmatch(text) or len(text) > 1_000:  # noqa: PLR2004 - more than a float's longest
            raise InvalidField(field, f"{cell[:_TOLD_CHARS]!r} isn't a number such as 0.9 or 1200")
        return int(text) if text.lstrip("+-").isdigit() else float(text)

    return number


def _truths(field: str) -> Cells:
    def truth(cell: str) -> object:
        if cell.lower() not in {"true", "false"}:
            raise InvalidField(field, f"{cell[:_TOLD_CHARS]!r} is neither true nor false")
        return cell.lower() == "true"

    return truth


def _json(field: str) -> Cells:
    def value(cell: str) -> object:
        try:
            return decode(cell.encode())
        except InvalidInput as error:
            raise InvalidField(field, f"{error}; its column holds JSON objects") from None

    return value
