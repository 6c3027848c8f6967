"""``agent-storage doctor`` and ``agent-storage graph``."""

from typing import Annotated

import typer

from app.cli.context import Parts, context_of, run
from app.cli.output import fail, print_json, print_table


def doctor(
    ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Check the configuration, build and open every part, ask each how it is, and say what to do."""
    context_of(ctx).settings()
    found = run(ctx, _examine)
    if as_json:
        print_json(found)
    else:
        print_table(
            ("part", "well", "ms", "what is wrong"), [(p["part"], p["ok"], p["ms"], p["error"]) for p in found]
        )
    if not all(part["ok"] for part in found):
        fail("something is wrong; the last column says what, and what to do")


async def _examine(parts: Parts) -> list[dict[str, object]]:
    """Every part's health; the index is asked last whether it fits the embedder."""
    from app.errors import AgentStorageError

    health = await parts.health().check(timeout_s=30)
    found = [_row("configuration", None, 0.0)]
    found += [_row(h.part, h.error, h.latency_seconds) for h in health]
    error: str | None = None
    if all(part.ok for part in health):
        try:
            await parts.indexing().open()
        except AgentStorageError as fault:
            error = str(fault)
        found.append(_row("index", error, 0.0))
    return found


def _row(part: str, error: str | None, latency_seconds: float) -> dict[str, object]:
    return {"part": part, "ok": error is None, "ms": round(latency_seconds * 1e3, 1), "error": error}


def graph(ctx: typer.Context) -> None:
    """Print the container's providers and what each is made of, as a Mermaid diagram."""
    typer.echo(context_of(ctx).draw_graph())
