"""``agent-storage doctor`` and ``agent-storage graph``."""

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import typer

from app.cli.command_parts import CommandParts
from app.cli.context import BOTH, Api, CliContext, Json, Near, context_of, usage_error
from app.cli.hints import PARTS, SAY_WHAT_TO_DO, hint_for, part_of
from app.cli.output import counted, fail, print_json, print_table, say
from app.cli.stores import Service, is_new, missing_store, service_at, service_beside, through
from app.errors import AgentStorageError, ConfigurationError, DataDirectoryLocked, ServiceError

if TYPE_CHECKING:
    from app.config import Settings

_PATIENCE_S = 5.0
_RETRYING_S = 3.0  # less than _PATIENCE_S, so that the part's own error is shown, not "no answer"

_ASKED = tuple(part for part, _ in PARTS)
_Broken = dict[str, AgentStorageError]


class _Row(NamedTuple):
    """The state of one part.

    ``ms`` is None if nothing was measured, ``error`` is None if nothing is wrong. ``note`` is
    further information about a healthy part.
    """

    part: str
    ms: float | None = None
    error: str | None = None
    hint: str | None = None
    note: str | None = None

    def as_dict(self) -> dict[str, object]:
        ok = self.error is None
        return {
            "part": self.part,
            "ok": ok,
            "latency_seconds": None if self.ms is None else round(self.ms / 1e3, 4),
            "error": self.error,
            "hint": self.hint,
            "note": self.note,
        }

    def cells(self) -> tuple[object, ...]:
        ms = None if self.ms is None else round(self.ms)
        return self.part, self.error is None, ms, " → ".join(filter(None, (self.error, self.hint or self.note)))


def doctor(ctx: typer.Context, api: Api = None, near: Near = False, as_json: Json = False) -> None:
    """Check the configuration and the health of every part, and say what to do.

    If a service on this machine holds the index, or --api names a service, that service checks its
    parts.
    """
    if api is not None and near:
        usage_error(BOTH)
    rows = _examine(context_of(ctx), api, near=near)
    wrong = sum(row.error is not None for row in rows)
    if as_json:
        print_json({"ok": not wrong, "parts": [row.as_dict() for row in rows]})
    else:
        last = "problem, and what to do"
        print_table(("part", "ok", "ms", last), [row.cells() for row in rows], wide=last)
    if wrong and not as_json:
        fail(f"{counted(wrong, 'part')} of {len(rows)} failed; the table says why, and what to do")
    if not as_json:
        say("All is well.")
    raise typer.Exit(1 if wrong else 0)


def _examine(context: CliContext, api: str | None, *, near: bool) -> list[_Row]:
    try:
        settings = context.loaded
    except ConfigurationError as error:
        problems = "; ".join(str(problem) for problem in error.problems)
        return [
            _Row("configuration", None, problems, "`agent-storage config show` shows where each comes from.")
        ]
    rows = [_Row("configuration")]
    holder = service_beside(settings) if api is None and not near else None
    service = service_at(api) if api is not None else through(holder, settings) if holder is not None else None
    if service is None:
        return rows + _ask_what_opens(context, settings)
    theirs = asyncio.run(_ask_service(service))
    if holder is None:
        return rows + theirs
    # Only the service can open the index. The other parts are checked here, too; of those, only the
    # service's failures are reported.
    held = DataDirectoryLocked(settings.qdrant.path, settings.qdrant.collection, str(holder))
    ours = [row for row in _ask_what_opens(context, settings, {"qdrant": held}) if row.part != "qdrant"]
    own = {row.part for row in ours}
    return rows + ours + [row for row in theirs if row.part not in own or row.error is not None]


async def _ask_service(service: Service) -> list[_Row]:
    """A row for the service itself, and one for each part that it reports."""
    from app.cli.remote.connection import Patience
    from app.cli.remote.parts import open_remote

    started = time.monotonic()
    try:
        with open_remote(service.url, service.key, patience=Patience(all_tries_s=_PATIENCE_S)) as parts:
            await parts.indexing().prepare()  # which needs the key
            itself = _Row("service", round((time.monotonic() - started) * 1e3, 1))
            found = await parts.health().check(_PATIENCE_S)
    except AgentStorageError as error:
        answered = isinstance(error, ServiceError) and error.status is not None
        hint = None if answered else f"Is it running, and is {service.url} its address?"
        return [_Row("service", None, str(error), hint)]
    log = "See the service's log; the service's own settings apply, not this command's."
    return [
        itself,
        *(
            _Row(each.part, round(each.latency_seconds * 1e3, 1), each.error, log if each.error else None)
            for each in found
        ),
    ]


def _ask_what_opens(context: CliContext, settings: "Settings", known: "_Broken | None" = None) -> list[_Row]:
    """Open the parts and check their health.

    A part that can't be opened, or is ``known`` to be unavailable, is reported and replaced, so
    that the other parts can be checked.
    """
    broken: _Broken = dict(known or {})
    if is_new(settings):
        broken["database"] = missing_store(settings)
    with TemporaryDirectory(prefix="agent-storage-") as folder:
        while True:
            try:
                with context.open_parts(_openable(settings, broken, folder)) as parts:
                    return _failed(broken, settings) + asyncio.run(_ask(parts, broken, settings))
            except AgentStorageError as error:
                part = part_of(error)
                if part in broken or part == "container":
                    return _failed({**broken, part: error}, settings)
                broken[part] = error


def _openable(settings: "Settings", broken: _Broken, folder: str) -> "Settings":
    """The settings with short timeouts, and an empty store in place of each unusable one."""
    database = {"url": "sqlite://"} if "database" in broken else {}
    unmade = settings.qdrant.mode == "embedded" and not Path(settings.qdrant.path).exists()
    qdrant = {"mode": "embedded", "path": folder} if "qdrant" in broken or unmade else {}
    retrying_s = min(settings.qdrant.retry_timeout, _RETRYING_S)
    timeout_s = min(settings.embedding.timeout, _RETRYING_S)
    return settings.model_copy(
        update={
            "database": settings.database.model_copy(update=database),
            "qdrant": settings.qdrant.model_copy(update={"retry_timeout": retrying_s, **qdrant}),
            "embedding": settings.embedding.model_copy(update={"timeout": timeout_s}),
        }
    )


async def _ask(parts: CommandParts, broken: _Broken, settings: "Settings") -> list[_Row]:
    """A row for each opened part, and if all are healthy, one for the index."""
    health = [
        h for h in await parts.health().check(timeout_s=_PATIENCE_S, parts=_ASKED) if h.part not in broken
    ]
    rows = [
        _Row(
            h.part,
            round(h.latency_seconds * 1e3, 1),
            h.error,
            None if h.ok else hint_for(h.part, settings),
            await _note(parts) if h.part == "qdrant" and h.ok else None,
        )
        for h in health
    ]
    if not broken and all(h.ok for h in health):
        rows.append(await _ask_index(parts))
    return rows


async def _note(parts: CommandParts) -> str | None:
    """The protocol and the strict mode of the Qdrant server; None with the embedded engine."""
    protocol = parts.qdrant_repository().protocol
    if not protocol:
        return None
    try:
        found = await parts.qdrant_repository().look_at_collection()
    except AgentStorageError:  # the index's row reports it
        found = None
    if found is None or found.strict_mode is None:
        return f"over {protocol}"
    return f"over {protocol}; its strict mode, which is respected, has {found.strict_mode}"


async def _ask_index(parts: CommandParts) -> _Row:
    try:
        await parts.indexing().prepare()
    except AgentStorageError as error:  # its message says what to do
        return _Row("index", error=str(error))
    return _Row("index")


def _failed(broken: _Broken, settings: "Settings") -> list[_Row]:
    return [
        _Row(part, None, str(error), None if isinstance(error, SAY_WHAT_TO_DO) else hint_for(part, settings))
        for part, error in broken.items()
    ]


def graph(ctx: typer.Context) -> None:
    """Print the container's providers and their dependencies as a Mermaid diagram."""
    say(context_of(ctx).draw_graph())
