"""``agent-storage db``."""

from typing import Annotated

import typer

from app.cli.context import CommandParts, Json, no_api, run
from app.cli.output import print_json

app = typer.Typer(help="The database's schema.", no_args_is_help=True)

_NEAR = "a service works only with the schema of its own version: stop it, and upgrade beside its database"


@app.command()
def upgrade(
    ctx: typer.Context, _api: Annotated[str | None, no_api(_NEAR)] = None, as_json: Json = False
) -> None:
    """Bring the database's schema to the version this program works with."""
    revision = run(ctx, _revision, index=False, migrate=True, makes=True)
    if as_json:
        print_json({"revision": revision})
    else:
        typer.echo(f"The database schema is at {revision}.")


async def _revision(parts: CommandParts) -> str | None:
    from app.sql.schema import current_revision

    return current_revision(parts.engine())
