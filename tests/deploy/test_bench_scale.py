"""The scale benchmark runs on a few extractions, and the formulas make the sizing table."""

import sys
from itertools import islice
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "bench"))  # benchmarks are scripts

from _scale_run import extractions
from scale import run_phase, sql_sizes, table
from scale_sizing import Case, sizing_table


@pytest.mark.slow
def test_it_measures_a_few_extractions(tmp_path: Path, sqlite_url: str) -> None:
    figures = run_phase("fill", sqlite_url, str(tmp_path), "300", optimize=False)
    figures |= sql_sizes(sqlite_url, tmp_path)
    figures |= run_phase("use", sqlite_url, str(tmp_path), "5", optimize=True)
    assert all(figures[name] > 0 for name in ("ingest_per_s", "search_p50_ms", "verify_s", "optimized_p50_ms"))
    assert "| search, p50 |" in table([{**figures, "store": "sqlite", "size": 300}])


@pytest.mark.slow
def test_its_extractions_are_always_the_same_and_no_two_alike() -> None:
    first, second = (list(islice(extractions(), 5_000)) for _ in range(2))
    assert first == second
    assert len({each["source_uri"] for each in first}) == 5_000
    assert len({each["data"]["fact_text"] for each in first}) > 4_950


def test_the_sizing_table_grows_with_what_is_asked() -> None:
    small, large = Case(1e7, 256, 30), Case(1e9, 1_024, 30)
    assert large.sql_bytes == pytest.approx(100 * small.sql_bytes)
    assert large.ram_bytes == 1e9 * 1_024 * 4 * 1.5  # Qdrant's own rule
    assert small.nodes == 2  # the copies
    assert large.nodes > large.quantized_nodes > small.nodes
    assert len(sizing_table([1e7, 1e9], [256, 1_024], 30).splitlines()) == 2 + 6 + 2 * 5
