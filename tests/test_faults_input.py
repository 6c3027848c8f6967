"""More input than fits: a million ids, megabytes in each extraction. Memory stays bounded, and it goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import COMMAND, ROOT, Cli, environment
from support.processes import TESTS

IDS = int(os.environ.get("TEST_IDS", "100000"))
"""How many are deleted at once; a thorough run takes 1,000,000."""

PAYLOADS = int(os.environ.get("TEST_PAYLOADS", "20"))
"""How many extractions of 1 MB are ingested; a thorough run takes 1,000."""


@pytest.mark.slow
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
    assert more_mib < 100


@pytest.mark.slow
def test_extractions_of_a_megabyte_each(tmp_path: Path) -> None:
    lines = tmp_path / "big.jsonl"
    with lines.open("w") as file:
        for number in range(PAYLOADS):
            data = {"fact_text": f"river {number}", "body": "x" * 1_000_000}
            file.write(
                json.dumps({"source_uri": f"doc:{number}", "extraction_type": "fact", "data": data}) + "\n"
            )
    for command in (("ingest", str(lines), "--project", "big"), ("reindex",)):
        with (tmp_path / "out").open("wb") as out:
            process = subprocess.Popen(
                [*COMMAND, *command], cwd=tmp_path, env=environment(), stdout=out, stderr=out
            )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, (tmp_path / "out").read_text()
        print(command[0], usage.ru_maxrss // 1024, "MiB")  # noqa: T201 - for who measures
        assert usage.ru_maxrss // 1024 < 1_500
    assert Cli(tmp_path).json("verify")["remaining"] == 0
