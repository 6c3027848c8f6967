"""Oversized input: a million ids, megabytes in each extraction. Memory stays bounded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import COMMAND, ROOT, Cli, environment
from support.memory import run_measured
from support.processes import TESTS

pytestmark = pytest.mark.slow

IDS = int(os.environ.get("TEST_IDS", "100000"))
"""How many are deleted at once; a thorough run takes 1,000,000."""

PAYLOADS = int(os.environ.get("TEST_PAYLOADS", "20"))
"""How many extractions of 1 MB are ingested; a thorough run takes 1,000."""


def test_any_number_of_ids_is_deleted_without_memory_for_them(tmp_path: Path) -> None:
    path = os.pathsep.join([str(ROOT), str(TESTS)])
    done = subprocess.run(
        [sys.executable, "-m", "support.heavy", str(tmp_path), str(IDS)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=True,
    )
    vectors, rows, left, more_mib = json.loads(done.stdout)
    assert (vectors, rows, left) == (50, 50, 0)
    print(more_mib, "MiB")  # noqa: T201 - for who measures
    assert more_mib < 6  # docs/reliability.md says 5


def test_extractions_of_a_megabyte_each(tmp_path: Path) -> None:
    lines = tmp_path / "big.jsonl"
    with lines.open("w") as file:
        for number in range(PAYLOADS):
            data = {"fact_text": f"river {number}", "body": "x" * 1_000_000}
            file.write(
                json.dumps({"source_uri": f"doc:{number}", "extraction_type": "fact", "data": data}) + "\n"
            )
    for command in (("ingest", str(lines), "--project", "big"), ("reindex",)):
        done, peak = run_measured([*COMMAND, *command], tmp_path, environment())
        assert done.returncode == 0, done.stdout
        print(command[0], peak, "MiB")  # noqa: T201 - for who measures
        assert 50 < peak < 420 + 0.6 * PAYLOADS  # what docs/reliability.md says, and a tenth more
    assert Cli(tmp_path).json("verify")["remaining"] == 0
