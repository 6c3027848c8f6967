"""``agent-storage db``."""

from typing import Annotated

import typer

from app.cli.context import Parts, run
from app.cli.output import print_json

app = typer.Typer(help="The database's schema.", no_args_is_help=True)


@app.command()
def upgrade(
    ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Bring the database's schema to the version this program works with."""
    revision = run(ctx, _revision, index=False, migrate=True)
    if as_json:
        print_json({"revision": revision})
    else:
        typer.echo(f"The database schema is at {revision}.")


async def _revision(parts: Parts) -> str | None:
    from app.schema import current_revision

    return current_revision(parts.engine())
