"""``agent-storage metrics``."""

from collections.abc import Mapping

import typer

from app.cli.context import Api, Json, run_at
from app.cli.output import print_json, print_table

_LANE = ("limit", "active", "waiting", "rejected", "finished", "wait_seconds", "run_seconds")


def metrics(ctx: typer.Context, api: Api = None, as_json: Json = False) -> None:
    """Print job durations, counts of jobs, extractions and orphans, and the use of pool and lanes.

    The pool and the lanes are those of this command's process, or of the service that --api names.
    """
    found = run_at(ctx, api, lambda parts: parts.metrics_collector().collect(), index=False).as_dict()
    if as_json:
        print_json(found)
        return
    durations: Mapping[str, Mapping[str, float]] = found["job_durations"]
    print_table(
        ("job type", "completed", "avg s", "min s", "max s"),
        [
            (name, s["count"], s["avg_seconds"], s["min_seconds"], s["max_seconds"])
            for name, s in sorted(durations.items())
        ],
        title="Job durations",
    )
    jobs: Mapping[str, Mapping[str, int]] = found["jobs"]
    print_table(
        ("job type", "status", "jobs"),
        [(name, *each) for name, by_status in sorted(jobs.items()) for each in sorted(by_status.items())],
        title="Jobs",
    )
    print_table(("extraction type", "extractions"), sorted(found["extractions"].items()), title="Extractions")
    print_table(("", "extractions"), [("orphans", found["orphans"]), ("set aside", found["set_aside"])])
    pool = found["pool"]
    print_table(
        ("size", "checked out", "overflow", "waits"),
        [(pool["size"], pool["checked_out"], pool["overflow"], pool["waits"])],
        title="Connection pool",
    )
    lanes: Mapping[str, Mapping[str, float]] = found["lanes"]
    print_table(
        ("lane", *(name.replace("_seconds", " s") for name in _LANE)),
        [(name, *(lane[column] for column in _LANE)) for name, lane in lanes.items()],
        title="Lanes",
    )
