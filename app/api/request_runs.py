"""The run under which a request hands extractions in."""

import uuid

from app.api.parts import ApiParts
from app.domain.ids import RunId, project_id_of


class RequestRun:
    """A request that hands in to a project, under an ``Idempotency-Key`` or none, and what its ``?run=`` names.

    That is a run that was begun before, by its id, or a new one of this request, by its name.
    """

    def __init__(self, parts: ApiParts, project: str, run: str | None, key: str | None) -> None:
        self.parts = parts
        self.project = project
        self.key = key
        self._name = run
        self._id = None if run is None else _as_id(run)
        self._is_own = run is not None and self._id is None

    async def begin(self) -> RunId | None:
        """The run's id, if there is a run; a new one is begun when something is about to be stored.

        Under an ``Idempotency-Key``, the same request finds the run that it began before.

        Raises:
            InvalidField: the name can't be used.
        """
        if self._id is None and self._name is not None:
            project_id = project_id_of(self.project)
            known = None if self.key is None else RunId(uuid.uuid5(project_id, f"run:{self.key}:{self._name}"))
            self._id = (await self.parts.runs().begin(self.project, self._name, run_id=known)).id
        return self._id

    async def end(self) -> RunId | None:
        """End a run that this request began; returns the id of any."""
        if self._is_own and self._id is not None:
            await self.parts.runs().end(self.project, self._id)
        return self._id

    async def give_up(self) -> None:
        """The request has failed: no more comes, unless it is sent again under its key."""
        if self.key is None:
            await self.end()


def _as_id(text: str) -> RunId | None:
    try:
        return RunId(uuid.UUID(text))
    except ValueError:
        return None
