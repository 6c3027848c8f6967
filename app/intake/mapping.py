"""Maps the columns of a table to the fields of an extraction."""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from app.domain.items import OF_AN_ANSWER, is_answer
from app.errors import InvalidField, InvalidInput

Path = tuple[str, ...]
"""The place of a value in an extraction, such as ``("data", "price")``."""

FIELDS = (
    "source_uri",
    "source_group",
    "extraction_type",
    "confidence",
    "metadata",
    "data",
    "observed_at",
    "gone",
)
_FIELDS = frozenset(FIELDS)
OBJECTS = ("data", "metadata")
_REQUIRED = ("source_uri", "extraction_type", "data")
_MOST_TOLD = 20


def path_of(name: str) -> Path:
    """Parse the name of a field, in which dots separate the keys.

    Raises:
        InvalidInput: there is no such field.
    """
    if (path := _own_path(name)) is None:
        guess = f"; is data.{name} meant?" if name and all(name.split(".")) else ""
        raise InvalidInput(
            f"{name!r} isn't a field of an extraction: the fields are {', '.join(FIELDS)}, data.NAME and metadata.NAME{guess}"
        )
    return path


@dataclass(frozen=True)
class ColumnMapping:
    """The user's mapping of columns to fields; the columns of a JSON object are its keys.

    A column goes where ``mapped`` says, else to the field with its name, else into ``rest``.
    ``constants`` are added to every row. Formats that have only texts read columns in ``texts`` as
    text and columns in ``numbers`` as numbers.
    """

    mapped: Mapping[Path, str] = field(default_factory=dict)
    constants: Mapping[Path, object] = field(default_factory=dict)
    rest: str | None = None
    ignored: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Reject contradictions.

        Raises:
            InvalidInput: a field is given twice, or a column is used in two ways.
        """
        for path in self.mapped.keys() & self.constants.keys():
            raise InvalidInput(f"--map and --set both give {'.'.join(path)}; keep one of them")
        for column in self.ignored & set(self.mapped.values()):
            raise InvalidInput(f"--map and --ignore both name the column {column!r}; keep one of them")
        for column in self.texts & self.numbers:
            raise InvalidInput(f"--text and --number both name the column {column!r}; keep one of them")

    @cached_property
    def _says_nothing(self) -> bool:
        return self == ColumnMapping()

    def targets(self, column: str) -> Sequence[Path] | None:
        """Return the paths of a column: none if it is ignored, None if it isn't mapped."""
        if column in self.ignored:
            return ()
        if mapped := [path for path, name in self.mapped.items() if name == column]:
            return mapped
        if (own := _own_path(column)) is not None and own not in self.mapped:
            return [own]
        return None if self.rest is None else [(self.rest, column)]

    def plan(self, columns: Sequence[str]) -> list[Sequence[Path]]:
        """Return the paths of each column of a table.

        Raises:
            InvalidInput: two columns have the same name, a column isn't mapped, an option names a
                column that doesn't exist, two columns give the same field, or none a required one.
        """
        if len(set(columns)) < len(columns):
            [(name, _)] = Counter(columns).most_common(1)
            raise InvalidInput(f"there are two columns {name[:100]!r}; rename one of them")
        known = set(self.mapped.values()) | self.ignored | self.texts | self.numbers
        if missing := sorted(known - set(columns)):
            raise InvalidInput(f"there is no column {missing[0][:100]!r}; there are {listed(columns)}")
        planned = {name: self.targets(name) for name in columns}
        if unknown := [name for name, targets in planned.items() if targets is None]:
            raise unmapped(unknown)
        self._check_fields({name: targets or () for name, targets in planned.items()}, columns)
        return [targets or () for targets in planned.values()]

    def _check_fields(self, planned: Mapping[str, Sequence[Path]], columns: Sequence[str]) -> None:
        given: dict[Path, str] = dict.fromkeys(self.constants, "--set")
        for name, targets in planned.items():
            for path in targets:
                if path in given:
                    first = given[path]
                    both = first if first == "--set" else f"the column {first!r}"
                    raise InvalidInput(
                        f"{both} and the column {name!r} both give {'.'.join(path)}; --ignore a column, or map it elsewhere"
                    )
                given[path] = name
        fields = {path[0] for path in given}
        for name in _REQUIRED[: 1 if "gone" in fields else None]:
            if name not in fields:
                raise InvalidInput(
                    f"no column gives {name}; {_way_to(name)}. The columns are {listed(columns)}"
                )

    def item_of(self, cells: Iterable[tuple[Path, object]]) -> dict[str, Any]:
        """Make an item of a row's values and the constants, each at its path.

        Raises:
            InvalidField: two values have the same path.
        """
        item: dict[str, Any] = {}
        for path, value in cells:
            _put(item, path, value)
        if "gone" not in item:
            for path, value in self.constants.items():
                _put(item, path, value)
        return item

    def item_of_object(self, value: object) -> object:
        """Make an item of a JSON object; return other values as they are, for the item parser.

        Raises:
            InvalidInput: a key isn't mapped.
        """
        if not isinstance(value, dict):
            return value
        if self._says_nothing and value.keys() <= (_FIELDS | OF_AN_ANSWER if is_answer(value) else _FIELDS):
            return value
        cells: list[tuple[Path, object]] = []
        unknown = []
        for name, member in value.items():
            targets = self.targets(name)
            if targets is None:
                unknown.append(name)
            else:
                cells += [(path, member) for path in targets]
        if unknown:
            raise unmapped(unknown)
        return self.item_of(cells)


def unmapped(columns: Sequence[str]) -> InvalidInput:
    """Make the error for columns that aren't mapped."""
    if own := [name for name in columns if _own_path(name) is not None]:
        return InvalidInput(
            f"{listed(own)}: --map takes this field from another column; leave this column out with --ignore "
            f"{shlex.quote(own[0])}, or map it elsewhere"
        )
    are, each, all_ = (
        ("isn't a field", "it is", "it") if len(columns) == 1 else ("aren't fields", "each is", "all")
    )
    return InvalidInput(
        f"{listed(columns)} {are} of an extraction. Say what {each} with --map FIELD=COLUMN, such as --map source_uri=url or "
        f"--map data.price=price; put {all_} into the data with --rest data; or leave one out with --ignore COLUMN"
    )


def listed(columns: Sequence[str]) -> str:
    """List the names of columns, cut short if there are many."""
    told = ", ".join(f"{name[:100]!r}" for name in columns[:_MOST_TOLD])
    more = len(columns) - _MOST_TOLD
    return told if more <= 0 else f"{told} and {more:,} more"


def _own_path(name: str) -> Path | None:
    """Return the path of the field with that name; None if there is none."""
    path = tuple(name.split("."))
    if name in FIELDS or (len(path) > 1 and path[0] in OBJECTS and all(path)):
        return path
    return None


def _way_to(name: str) -> str:
    if name == "extraction_type":
        return (
            "say what kind of facts these are with --set extraction_type=KIND, or name their column with --map"
        )
    if name == "data":
        return "name its columns with --map data.NAME=COLUMN, or take all others with --rest data"
    return f"name its column with --map {name}=COLUMN"


def _put(item: dict[str, Any], path: Path, value: object) -> None:
    *parents, last = path
    here = item
    for name in parents:
        here = here.setdefault(name, {})
        if not isinstance(here, dict):
            raise InvalidField(
                ".".join(path), f"can't be added, because {name} has a value that isn't an object"
            )
    if last in here:
        raise InvalidField(".".join(path), "is given twice in this row; --map or --ignore one of the two")
    here[last] = value
