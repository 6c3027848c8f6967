"""``agent-storage db``."""

import typer

from app.cli.context import CommandParts, Json, run
from app.cli.output import print_json

app = typer.Typer(help="The database's schema.", no_args_is_help=True)


@app.command()
def upgrade(ctx: typer.Context, as_json: Json = False) -> None:
    """Bring the database's schema to the version this program works with."""
    revision = run(ctx, _revision, index=False, migrate=True)
    if as_json:
        print_json({"revision": revision})
    else:
        typer.echo(f"The database schema is at {revision}.")


async def _revision(parts: CommandParts) -> str | None:
    from app.sql.schema import current_revision

    return current_revision(parts.engine())
