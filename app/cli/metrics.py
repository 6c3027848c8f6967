"""``agent-storage metrics``."""

import typer

from app.cli.context import Json, run
from app.cli.output import print_json, print_table


def metrics(ctx: typer.Context, as_json: Json = False) -> None:
    """Print job durations, jobs, extractions, orphans, and how busy the pool and the lanes are."""
    found = run(ctx, lambda parts: parts.metrics_collector().collect(), index=False)
    if as_json:
        print_json(found.as_dict())
        return
    print_table(
        ("job type", "completed", "avg s", "min s", "max s"),
        [
            (name, s.count, s.avg_seconds, s.min_seconds, s.max_seconds)
            for name, s in sorted(found.job_durations.items())
        ],
        title="Job durations",
    )
    print_table(
        ("job type", "status", "jobs"),
        [(*key, count) for key, count in sorted(found.jobs.items())],
        title="Jobs",
    )
    print_table(("extraction type", "extractions"), sorted(found.extractions.items()), title="Extractions")
    print_table(("", "extractions"), [("orphans", found.orphans), ("set aside", found.set_aside)])
    pool = found.pool
    print_table(
        ("size", "checked out", "overflow", "waits"),
        [(pool.size, pool.checked_out, pool.overflow, pool.waits)],
        title="Connection pool",
    )
    print_table(
        ("lane", "limit", "active", "waiting", "rejected", "finished", "wait s", "run s"),
        [
            (s.name, s.limit, s.active, s.waiting, s.rejected, s.finished, s.wait_seconds, s.run_seconds)
            for s in found.lanes
        ],
        title="Lanes",
    )
