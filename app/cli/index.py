"""The commands that look after the index: ``verify``, ``reindex`` and ``optimize``."""

import signal
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.context import CommandParts, Json, context_of, run
from app.cli.output import counted, fail, print_json, print_table, progress

if TYPE_CHECKING:
    from app.services.reconciliation import Differences
    from app.services.vectors import Indexed

DIFFER = 4


def verify(
    ctx: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what differs.")] = False,
    as_json: Json = False,
) -> None:
    """Compare SQL with Qdrant, and mend the difference with --repair. Exit code 4 while a difference remains."""
    found = run(ctx, lambda parts: _verify(parts, repair=repair))
    if as_json:
        counts = {name: count for name, count in asdict(found).items() if name != "left"}
        print_json({**counts, "remaining": found.remaining})
    else:
        print_table(
            ("", "found", "mended"),
            [
                ("orphans: rows without a vector", found.orphans, found.mended_orphans),
                ("ghosts: vectors without a row", found.ghosts, found.mended_ghosts),
                ("missing: marked rows whose vector is gone", found.missing, found.mended_missing),
                ("stale: vectors with other labels than their row", found.stale, found.mended_stale),
            ],
        )
        typer.echo(
            f"Compared {counted(found.extractions, 'extraction')} and {counted(found.points, 'vector')}. {_verdict(found)}"
        )
    if found.remaining:
        raise typer.Exit(DIFFER)


def _verdict(found: "Differences") -> str:
    cut = f" {found.cut:,} were cut, because they are longer than the model takes." if found.cut else ""
    aside = f" {found.set_aside:,} are set aside, because they can't be embedded." if found.set_aside else ""
    if found.remaining:
        return f"The stores differ; `agent-storage verify --repair` mends it.{cut}{aside}"
    return f"The stores agree.{cut}{aside}"


async def _verify(parts: CommandParts, *, repair: bool) -> "Differences":
    from app.services.reconciliation import Differences

    await parts.indexing().prepare(mend=repair)
    found = Differences()
    with progress() as display:
        task = display.add_task("comparing", total=None)
        async for found in parts.reconciliation().run(repair=repair):
            display.update(task, completed=found.extractions + found.points)
    return found


def reindex(ctx: typer.Context, as_json: Json = False) -> None:
    """Rebuild the whole index with the configured embedder. The SQL data stays; interrupted, it goes on next time."""
    done = run(ctx, _reindex)
    if as_json:
        print_json(asdict(done))
    else:
        aside = f"; {done.set_aside:,} set aside, because they can't be embedded" if done.set_aside else ""
        cut = f"; {done.cut:,} cut, because they are longer than the model takes" if done.cut else ""
        typer.echo(f"Reindexed {counted(done.indexed, 'extraction')}{cut}{aside}.")


async def _reindex(parts: CommandParts) -> "Indexed":
    reindexing = parts.reindexing()
    return await _sum(reindexing.run(), await reindexing.total())


async def _sum(batches: "AsyncIterator[Indexed]", total: int) -> "Indexed":
    from app.services.vectors import Indexed

    done = Indexed()
    with progress() as display:
        task = display.add_task("embedding", total=total)
        async for batch in batches:
            done += batch
            display.update(task, completed=done.indexed + done.set_aside)
    return done


def adopt(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: Json = False,
) -> None:
    """Make the collection this database's own, whoever's it was: after a restore, say."""
    name = context_of(ctx).settings().qdrant.collection
    if not yes and not typer.confirm(f"Take over the collection {name!r}, whichever store's it is?", err=True):
        fail("nothing was changed")
    store_id = run(ctx, _adopt)
    if as_json:
        print_json({"collection": name, "store_id": store_id})
    else:
        typer.echo(f"The collection {name} is the index of this database (store {store_id}) now.")


async def _adopt(parts: CommandParts) -> str:
    await parts.ownership().adopt()
    return await parts.ownership().store_id()


def optimize(ctx: typer.Context, as_json: Json = False) -> None:
    """Build the vector index of the embedded engine, which makes searches quicker. Takes a while; nothing else runs."""
    # The engine holds Python's lock until it is done, so only the kernel can act on Ctrl-C. A kill loses nothing.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    vectors = run(ctx, _optimize)
    if as_json:
        print_json({"optimized_vectors": vectors})
    else:
        typer.echo(f"Optimized the index of {counted(vectors, 'vector')}.")


async def _optimize(parts: CommandParts) -> int:
    await parts.indexing().prepare()
    with progress() as display:
        display.add_task("optimizing", total=None)
        await parts.qdrant_repository().optimize()
    return await parts.qdrant_repository().count()
