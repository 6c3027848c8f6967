"""``agent-storage changes``: prints the feed of a project's changes, and follows it."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.context import DEFAULT_PROJECT, Api, InProject, Json, context_of, run_at, to_the_end, usage_error
from app.cli.output import note
from app.errors import InvalidField

if TYPE_CHECKING:
    from app.cli.ports import ServiceParts
    from app.domain.changes import FeedPage, FeedPlace
    from app.domain.text import TextRules

_DEFAULT_LIMIT = 100
_PAGE = 1_000
_LOOK_S = 1.0
"""How long to wait at the end of the feed before looking again."""


def changes(
    ctx: typer.Context,
    project: InProject = DEFAULT_PROJECT,
    after: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="The cursor to continue from. Default: the beginning."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, help="How many changes. Default: 100; with --follow, no limit."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new changes, until Ctrl-C.")] = False,
    api: Api = None,
    as_json: Json = False,
) -> None:
    """Print a project's changes in the order of their commits, from the oldest.

    At the end, also after Ctrl-C, it prints the cursor to continue from. --json prints one object a
    line, each with the cursor after it.
    """
    from app.domain.cursors import read_place

    try:
        place = None if after is None else read_place(after, "after")
    except InvalidField as error:
        usage_error(f"--{error}")
    most = limit if limit is not None or follow else _DEFAULT_LIMIT
    feed = _Feed(project, place, context_of(ctx).text_rules(), as_json=as_json)
    run_at(ctx, api, lambda parts: feed.run(parts, most, follow=follow), index=False)


class _Feed:
    """One run of the command."""

    def __init__(self, project: str, place: "FeedPlace | None", rules: "TextRules", *, as_json: bool) -> None:
        self._project = project
        self._place = place
        self._rules = rules
        self._as_json = as_json
        self._more: bool | None = None  # until a page is read

    async def run(self, parts: "ServiceParts", limit: int | None, *, follow: bool) -> None:
        """Print up to ``limit`` changes; say where to continue, however this ends.

        Before a page is read, it isn't known whether ``--after`` can be continued from.
        """
        try:
            await self._run(parts, limit, follow=follow)
        finally:
            self._tell_place()

    async def _run(self, parts: "ServiceParts", limit: int | None, *, follow: bool) -> None:
        left = limit
        while left is None or left > 0:
            page = await parts.changes().feed(
                self._project, after=self._place, limit=_PAGE if left is None else min(left, _PAGE)
            )
            await to_the_end(self._take(parts, page))
            left = None if left is None else left - len(page.changes)
            if page.is_last:
                if not follow:
                    return
                await asyncio.sleep(_LOOK_S)

    async def _take(self, parts: "ServiceParts", page: "FeedPage") -> None:
        """Print a page whole, so that the place after it is the right one to continue from."""
        from app.cli.changes import NamedHistory, print_feed, print_feed_lines
        from app.domain.changes import FeedPlace, History

        if not page.is_whole:
            note("The feed begins later: changes older than retention.history are deleted.")
        start = self._place or FeedPlace(page.place.epoch, 0, 0)
        if self._as_json:
            await parts.files_lane().run(print_feed_lines, page, start)
        elif page.changes:
            history = History(page.changes, None, is_whole=True)
            named = await NamedHistory.with_sources(parts, self._project, history)
            await parts.files_lane().run(print_feed, named, self._rules)
        self._place, self._more = page.place, not page.is_last

    def _tell_place(self) -> None:
        from app.domain.cursors import write_place

        if self._place is not None and self._more is not None:
            there_is = "There are more changes" if self._more else "These are all changes so far"
            note(f"{there_is}; `--after {write_place(self._place)}` continues after them.")
