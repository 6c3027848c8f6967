"""Parquet: types are kept, and a column of a wrong type is rejected before a row is read."""

import datetime as dt
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from app.errors import ExtraMissing, InvalidInput
from app.intake.formats import Format
from app.intake.mapping import ColumnMapping
from app.intake.opening import open_rows
from app.intake.rows import RowBatch

REST = ColumnMapping(constants={("extraction_type",): "t"}, rest="data")
FIELDS = ("text",)


def write(folder: Path, columns: dict[str, Any], **options: Any) -> str:
    path = folder / "it.parquet"
    parquet.write_table(pa.table(columns), path, **options)
    return str(path)


def read(path: str, mapping: ColumnMapping = REST, size: int = 1_000) -> list[RowBatch]:
    with open_rows(path, FIELDS, mapping=mapping, skip_invalid=True) as reader:
        reader.begin()
        return list(iter(lambda: reader.next_batch(size), None))


def datum(folder: Path, column: Any) -> Any:
    """What the first value of a column becomes."""
    path = write(folder, {"source_uri": ["u"], "text": ["x"], "it": column})
    [batch] = read(path)
    assert not batch.rejects
    return batch.items[0].data.get("it")


ZONE = pa.timestamp("us", "UTC")
MOMENT = dt.datetime(2026, 1, 31, 8, 30, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([7], pa.int8()), 7),
        (pa.array([2**62 + 1]), 2**62 + 1),
        (pa.array([1.5]), 1.5),
        (pa.array([True]), True),
        (pa.array(["007"]), "007"),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array(["x"], pa.large_string()), "x"),
        (pa.array([Decimal("19.90")], pa.decimal128(9, 2)), 19.9),
        (pa.array([Decimal(7)], pa.decimal128(9, 0)), 7),
        (pa.array([Decimal("12345678901234567.89")], pa.decimal128(38, 2)), "12345678901234567.89"),
        (pa.array([MOMENT], ZONE), "2026-01-31T08:30:00+00:00"),
        (pa.array([MOMENT.replace(tzinfo=None)], pa.timestamp("ms")), "2026-01-31T08:30:00"),
        (pa.array([1], pa.timestamp("ns")), "1970-01-01T00:00:00.000000001"),
        (pa.array([1_000], pa.timestamp("ns")), "1970-01-01T00:00:00.000001"),
        (pa.array([dt.date(2026, 1, 31)]), "2026-01-31"),
        (pa.array([dt.time(8, 30)]), "08:30:00"),
        (pa.array([[1, None, 3]]), [1, None, 3]),
        (pa.array([{"a": 1, "b": [{"c": dt.date(2026, 1, 31)}]}]), {"a": 1, "b": [{"c": "2026-01-31"}]}),
        (pa.array([{"a": 1, "b": None}], pa.struct({"a": pa.int64(), "b": pa.string()})), {"a": 1}),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), {"k": 1}),
        (pa.array([None], pa.string()), None),
        (pa.nulls(1), None),
    ],
)
def test_a_type_is_kept(tmp_path: Path, column: Any, expected: object) -> None:
    found = datum(tmp_path, column)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "column", "needs"),
    [
        (
            "source_uri",
            pa.array([b"u"]),
            r"'source_uri' is of the type binary, and source_uri needs text; cast it",
        ),
        ("source_uri", pa.array([1]), "'source_uri' is of the type int64, and source_uri needs text"),
        (
            "confidence",
            pa.array(["0.9"]),
            "'confidence' is of the type string, and confidence needs numbers from 0 to 1",
        ),
        ("data", pa.array([[1]]), "'data' .* needs structs, or JSON as text"),
        ("metadata", pa.array([1]), "'metadata' .* needs structs, or JSON as text"),
        (
            "observed_at",
            pa.array([0], pa.timestamp("us")),
            r"of the type timestamp\[us\], .* needs timestamps with a zone",
        ),
        ("gone", pa.array(["x"]), "'gone' .* needs true or false"),
        ("data.x", pa.array([b"x"]), "'data.x' is of the type binary, and data.x needs a type that JSON has"),
        ("x", pa.array([[b"x"]]), r"'x' is of the type list<.*binary>, and data\.x needs a type that JSON has"),
        ("x", pa.array([[(1, 1)]], pa.map_(pa.int64(), pa.int64())), "needs a type that JSON has"),
        ("x", pa.array([dt.timedelta(1)]), "needs a type that JSON has"),
    ],
)
def test_a_column_of_a_wrong_type_is_refused_at_once(
    tmp_path: Path, name: str, column: Any, needs: str
) -> None:
    columns = {"source_uri": pa.array(["u"]), "text": pa.array(["x"])} | {name: column}
    with (
        open_rows(write(tmp_path, columns), FIELDS, mapping=REST) as reader,
        pytest.raises(InvalidInput, match=f"^{tmp_path}/it.parquet: the column .*{needs}"),
    ):
        reader.begin()


def test_fields_of_every_type(tmp_path: Path) -> None:
    columns = {
        "source_uri": pa.array(["u", "v"]).dictionary_encode(),
        "extraction_type": ["t", "t"],
        "confidence": pa.array([Decimal("0.50"), None], pa.decimal128(3, 2)),
        "metadata": ['{"page": 7}', None],
        "data": [{"text": "a", "n": 1}, {"text": "b", "n": None}],
        "source_group": ["g", None],
    }
    [batch] = read(write(tmp_path, columns), ColumnMapping())
    first, second = batch.items
    assert (first.confidence, first.metadata, first.source_group) == (0.5, {"page": 7}, "g")
    assert (first.data, second.data) == ({"text": "a", "n": 1}, {"text": "b"})
    assert (second.confidence, second.metadata, second.source_group) == (None, None, None)


def test_a_row_that_cant_be_used_is_named(tmp_path: Path) -> None:
    columns = {
        "source_uri": ["a", "b", None, "d"],
        "text": ["x", "x", "x", "x"],
        "n": [1.5, float("nan"), 2.5, None],
    }
    [batch] = read(write(tmp_path, columns))
    assert [item.source_uri for item in batch.items] == ["a", "d"]
    assert [(reject.line, reject.reason) for reject in batch.rejects] == [
        (2, "data.n: nan isn't a JSON number"),
        (3, "source_uri: missing"),
    ]
    assert b"'source_uri': 'b'" in batch.rejects[0].raw


@pytest.mark.parametrize(
    "column", [pa.array([2**50, 0], pa.timestamp("ms")), pa.array([-(10**6), 0], pa.date32())]
)
@pytest.mark.parametrize("is_nested", [False, True])
def test_a_date_that_python_cant_have_names_its_column(tmp_path: Path, column: Any, is_nested: bool) -> None:
    if is_nested:
        column = pa.array([{"on": moment} for moment in column], pa.struct({"on": column.type}))
    path = write(tmp_path, {"source_uri": ["a", "b"], "text": ["x", "x"], "when": column})
    with pytest.raises(
        InvalidInput, match=r"the column 'when' has a date outside .* --ignore when\), after row 0"
    ):
        read(path)


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    path = tmp_path / "it.parquet"
    path.touch()
    with pytest.raises(InvalidInput, match=r"it\.parquet holds no extraction: it is empty$"):
        read(str(path))


@pytest.mark.parametrize("size", [1, 7, 400, 5_000])
def test_batches_hold_every_row_once(tmp_path: Path, size: int) -> None:
    names = [f"u{number}" for number in range(1_234)]
    path = write(tmp_path, {"source_uri": names, "text": names}, row_group_size=500)
    batches = read(path, size=size)
    assert [item.source_uri for batch in batches for item in batch.items] == names
    assert all(len(batch.items) == size for batch in batches[:-1])


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    path = write(tmp_path, {"source_uri": ["a", "b"], "text": ["x", "y"]})
    with open_rows(path, FIELDS, mapping=REST) as reader:
        reader.begin()
        while reader.next_batch(1) is not None:
            pass
        assert reader.position_bytes == reader.size_bytes == Path(path).stat().st_size


def test_a_file_that_is_cut_or_damaged_is_refused(tmp_path: Path) -> None:
    path = Path(write(tmp_path, {"source_uri": ["u"] * 9_000, "text": [f"x{n}" for n in range(9_000)]}))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with (
        open_rows(str(path), FIELDS, mapping=REST) as reader,
        pytest.raises(InvalidInput, match="isn't a complete Parquet file"),
    ):
        reader.begin()
    path.write_bytes(whole[:5_000] + bytes(9_000) + whole[14_000:])
    with open_rows(str(path), FIELDS, mapping=REST) as reader:
        reader.begin()
        with pytest.raises(InvalidInput, match="reading failed"):
            list(iter(lambda: reader.next_batch(1_000), None))


def test_parquet_in_gzip_and_on_standard_input_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "it.parquet.gz"
    path.write_bytes(b"\x1f\x8b...")
    with open_rows(str(path), FIELDS) as reader, pytest.raises(InvalidInput, match="gunzip it first"):
        reader.begin()
    with (
        pytest.raises(InvalidInput, match="can't be read from standard input"),
        open_rows("-", FIELDS, format_=Format.PARQUET),
    ):
        pass


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, {"source_uri": ["u"]})
    for name in [name for name in sys.modules if name.startswith("app.intake.parquet_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExtraMissing, match=r"pip install 'agent-storage\[parquet\]'"), open_rows(path, FIELDS):
        pass


def test_text_and_number_are_about_csv(tmp_path: Path) -> None:
    path = write(tmp_path, {"source_uri": ["u"]})
    mapping = ColumnMapping(texts=frozenset({"x"}))
    with (
        pytest.raises(InvalidInput, match="--text and --number are for CSV only"),
        open_rows(path, FIELDS, mapping=mapping),
    ):
        pass
