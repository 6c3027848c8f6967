"""``agent-storage db``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.command_parts import CommandParts
from app.cli.context import Json, no_api, run
from app.cli.output import print_json, progress, say
from app.cli.stores import IfMissing

if TYPE_CHECKING:
    from app.services.data_indexes import AppliedIndexes

app = typer.Typer(help="The database's schema.", no_args_is_help=True)

_NEAR = "a service runs only with the schema of its version; stop it, and run this command with its settings"


@dataclass(frozen=True, slots=True)
class _Upgraded:
    """The database after the upgrade."""

    revision: str | None
    indexes: "AppliedIndexes"


@app.command()
def upgrade(
    ctx: typer.Context, _api: Annotated[str | None, no_api(_NEAR)] = None, as_json: Json = False
) -> None:
    """Migrate the database's schema to this version, and create or drop indexes as configured."""
    found = run(ctx, _upgraded, index=False, migrate=True, missing=IfMissing.CREATE)
    if as_json:
        print_json({"revision": found.revision, "data_indexes": found.indexes.as_dict()})
        return
    say(f"The database schema is at {found.revision}.")
    for said, paths in (("made", found.indexes.made), ("dropped", found.indexes.dropped)):
        for path in paths:
            say(f"The index on {path} is {said}.")


async def _upgraded(parts: CommandParts) -> _Upgraded:
    from app.sql.schema import current_revision

    indexing = parts.data_indexing()
    applied = await indexing.apply()
    with progress() as display:
        bar = display.add_task("indexes", total=None)
        async for each in indexing.carry_out():
            display.update(bar, description=each.path, completed=each.done, total=each.total)
    return _Upgraded(current_revision(parts.engine()), applied)
