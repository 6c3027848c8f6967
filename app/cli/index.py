"""The commands that maintain the index: ``verify``, ``reindex``, ``adopt`` and ``optimize``."""

import signal
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.command_parts import CommandParts
from app.cli.context import (
    Api,
    Json,
    Near,
    Yes,
    context_of,
    no_api,
    require_no_service,
    run,
    run_at,
)
from app.cli.output import counted, fail, print_json, print_table, progress, say
from app.domain.upkeep import Differences, Indexed

if TYPE_CHECKING:
    from app.cli.ports import ServiceParts

DIFFER = 4

_ADOPT_NEAR = "a service can't run with a foreign index; stop it, run this command on its machine, and start it"
_OPTIMIZE_NEAR = "a service can't answer while the embedded engine optimizes; stop it, run this command on its machine, and start it"


def verify(
    ctx: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help="Repair the differences.")] = False,
    api: Api = None,
    near: Near = False,
    as_json: Json = False,
) -> None:
    """Compare SQL with Qdrant; --repair repairs the differences. Exit code 4 if any remain."""
    found = run_at(ctx, api, lambda parts: _verify(parts, repair=repair), near=near)
    if as_json:
        print_json(found.as_dict())
    else:
        print_table(
            ("", "found", "repaired"),
            [
                ("orphans: rows without a vector", found.orphans, found.repaired_orphans),
                ("ghosts: vectors without a row", found.ghosts, found.repaired_ghosts),
                ("missing: marked rows whose vector is gone", found.missing, found.repaired_missing),
                ("stale: vectors with other labels than their row", found.stale, found.repaired_stale),
                ("words missing: rows without words", found.words_missing, found.repaired_words_missing),
                ("words stale: words by other rules", found.words_stale, found.repaired_words_stale),
            ],
        )
        say(
            f"Compared {counted(found.extractions, 'extraction')} and {counted(found.points, 'vector')}. {_verdict(found)}"
        )
    if found.remaining:
        raise typer.Exit(DIFFER)


def _verdict(found: Differences) -> str:
    cut = f" {found.cut:,} were cut, because they are longer than the model takes." if found.cut else ""
    aside = f" {found.set_aside:,} are set aside, because they can't be embedded." if found.set_aside else ""
    if found.remaining:
        return f"The stores differ; `agent-storage verify --repair` repairs them.{cut}{aside}"
    return f"The stores agree{' now, after the repair' if found.repaired else ''}.{cut}{aside}"


async def _verify(parts: "ServiceParts", *, repair: bool) -> Differences:
    await parts.indexing().prepare(repair=repair)
    found = Differences()
    with progress() as display:
        task = display.add_task("comparing", total=None)
        async for found in parts.reconciliation().run(repair=repair):
            display.update(task, completed=found.extractions + found.points)
    return found


def reindex(ctx: typer.Context, api: Api = None, near: Near = False, as_json: Json = False) -> None:
    """Rebuild the whole index with the configured embedder.

    The SQL data isn't changed. An interrupted reindex resumes at the next call. A service uses the
    embedder that it was started with.
    """
    if api is None and not near:
        _require_same_embedder(ctx)
    done = run_at(ctx, api, _reindex, near=near)
    if as_json:
        print_json(asdict(done))
    else:
        aside = f"; {done.set_aside:,} set aside, because they can't be embedded" if done.set_aside else ""
        cut = f"; {done.cut:,} cut, because they are longer than the model takes" if done.cut else ""
        say(f"Reindexed {counted(done.indexed, 'extraction')}{cut}{aside}.")


def _require_same_embedder(ctx: typer.Context) -> None:
    """Fail if the service that would rebuild the index was started with another embedder."""
    from app.cli.stores import service_beside

    settings = context_of(ctx).settings()
    holder, wanted = service_beside(settings), settings.embedding.label
    if holder is not None and holder.embedder != wanted:
        fail(
            f"the service at {holder.url} holds the index and embeds with {holder.embedder}, but the settings say {wanted}. "
            "To use the embedder of the settings: stop the service, run this again, and start it."
        )


async def _reindex(parts: "ServiceParts") -> Indexed:
    reindexing = parts.reindexing()
    return await _sum(reindexing.run(), await reindexing.total())


async def _sum(batches: "AsyncIterator[Indexed]", total: int | None) -> Indexed:
    done = Indexed()
    with progress() as display:
        task = display.add_task("embedding", total=total)
        async for batch in batches:
            done += batch
            display.update(task, completed=done.indexed + done.set_aside)
    return done


def adopt(
    ctx: typer.Context,
    yes: Yes = False,
    _api: Annotated[str | None, no_api(_ADOPT_NEAR)] = None,
    as_json: Json = False,
) -> None:
    """Make the collection the index of this database, for example after a restore."""
    require_no_service(ctx, _ADOPT_NEAR)
    name = context_of(ctx).settings().qdrant.collection
    if not yes and not typer.confirm(f"Take over the collection {name!r}, even from another store?", err=True):
        fail("nothing was changed")
    store_id = run(ctx, _adopt)
    if as_json:
        print_json({"collection": name, "store_id": store_id})
    else:
        say(f"The collection {name} now is the index of this database (store {store_id}).")


async def _adopt(parts: CommandParts) -> str:
    await parts.ownership().adopt()
    return await parts.ownership().store_id()


def optimize(
    ctx: typer.Context, _api: Annotated[str | None, no_api(_OPTIMIZE_NEAR)] = None, as_json: Json = False
) -> None:
    """Build the embedded engine's vector index, for faster searches.

    This takes a while, and nothing else can use the index meanwhile.
    """
    require_no_service(ctx, _OPTIMIZE_NEAR)
    # The engine holds the GIL until it is done, so only the kernel can act on Ctrl-C. Being killed
    # loses no data.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    vectors = run(ctx, _optimize)
    if as_json:
        print_json({"optimized_vectors": vectors})
    else:
        say(f"Optimized the index of {counted(vectors, 'vector')}.")


async def _optimize(parts: CommandParts) -> int:
    await parts.indexing().prepare()
    with progress() as display:
        display.add_task("optimizing", total=None)
        await parts.qdrant_repository().optimize()
    return await parts.qdrant_repository().count()
