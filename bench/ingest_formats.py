"""``agent-storage ingest`` of CSV, JSON arrays and Parquet, against JSON lines.

All have the same extractions. Each run is the command in a separate process, on a new folder; its
rate is the command's own, from opening the file to the last mark. The formats take turns, so that
other load affects all of them. It also measures the CPU time of only reading and checking, in this
process, since this is where the formats differ.

    python bench/ingest_formats.py [FILE] [--count 20000] [--rounds 3]
"""

import argparse
import csv
import json
import statistics
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from _setup import EXAMPLE, read_extractions, run_ingest

FIELDS = ("source_uri", "source_group", "extraction_type", "confidence")
NAMES = ("it.jsonl", "it.json", "it.csv", "it.parquet")


def write(folder: Path, items: list[dict[str, Any]]) -> None:
    """Write the same extractions in every format; the CSV has the data in columns, as is usual."""
    import pyarrow as pa
    from pyarrow import parquet

    (folder / "it.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (folder / "it.json").write_text(json.dumps(items, indent=1))
    parquet.write_table(pa.Table.from_pylist(items), folder / "it.parquet")
    texts = sorted({name for item in items for name, value in item["data"].items() if isinstance(value, str)})
    with (folder / "it.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*FIELDS, *(f"data.{name}" for name in texts), "metadata"])
        for item in items:
            rest = {name: value for name, value in item["data"].items() if name not in texts}
            cells = [item.get(name) for name in FIELDS] + [item["data"].get(name) for name in texts]
            writer.writerow([*cells, json.dumps(rest)])


def ingested(file: Path) -> tuple[float, float]:
    """Run the command: extractions a second, and per second of CPU time of the whole process."""
    report, usage, _ = run_ingest(file)
    return report["new"] / report["seconds"], report["new"] / (usage.ru_utime + usage.ru_stime)


def read_us(file: Path) -> float:
    """Microseconds of CPU time to read and check an extraction."""
    from app.intake.opening import open_rows

    started, count = time.process_time(), 0
    with open_rows(str(file), ("fact_text", "text")) as reader:
        reader.begin()
        while (batch := reader.next_batch(1_000)) is not None:
            count += len(batch.items)
    return (time.process_time() - started) / count * 1e6


def main() -> None:
    """Take turns, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    originals = enumerate(islice(cycle(read_extractions(arguments.file)), arguments.count))
    items = [{**item, "source_uri": f"{item['source_uri']}/{number}"} for number, item in originals]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, items)
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
        for round_ in range(arguments.rounds):
            for each in NAMES if round_ % 2 else reversed(NAMES):
                rates[each].append(ingested(folder / each))
        reading = {each: min(read_us(folder / each) for _ in range(3)) for each in NAMES}
    medians = {each: [statistics.median(some) for some in zip(*rates[each], strict=True)] for each in NAMES}
    for each, (rate, for_cpu) in medians.items():
        lines, lines_for_cpu = medians[NAMES[0]]
        print(
            f"{Path(each).suffix[1:]:8} {rate:8,.0f} extractions/s, {rate / lines:.2f} x JSON lines; for a second of CPU "
            f"{for_cpu / lines_for_cpu:.2f} x; only reading {reading[each]:.0f} us of CPU each"
        )


if __name__ == "__main__":
    main()
