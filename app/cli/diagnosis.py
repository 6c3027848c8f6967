"""``agent-storage doctor`` and ``agent-storage graph``."""

from typing import Annotated

import typer

from app.cli.context import Parts, context_of, run
from app.cli.output import fail, print_json, print_table


def doctor(ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check the configuration, build and open every part, ask each how it is, and say what to do."""
    context_of(ctx).settings()
    found = run(ctx, _examine)
    if as_json:
        print_json(found)
    else:
        print_table(("part", "well", "ms", "what is wrong"), [(p["part"], p["ok"], p["ms"], p["error"]) for p in found])
    if not all(part["ok"] for part in found):
        fail("something is wrong; the last column says what, and what to do")


async def _examine(parts: Parts) -> list[dict[str, object]]:
    """Every part's health; the index is asked last whether it fits the embedder."""
    from app.errors import AgentStorageError

    health = await parts.health().check(timeout_s=30)
    found: list[dict[str, object]] = [
        {"part": "configuration", "ok": True, "ms": 0.0, "error": None},
        *({"part": h.part, "ok": h.ok, "ms": round(h.latency_seconds * 1e3, 1), "error": h.error} for h in health),
    ]
    error: str | None = None
    if all(part.ok for part in health):
        try:
            await parts.indexing().open()
        except AgentStorageError as fault:
            error = str(fault)
        found.append({"part": "index", "ok": error is None, "ms": 0.0, "error": error})
    return found


def graph(ctx: typer.Context) -> None:
    """Print the container's providers and what each is made of, as a Mermaid diagram."""
    typer.echo(context_of(ctx).draw_graph())
