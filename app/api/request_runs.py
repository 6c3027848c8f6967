"""The run under which a request ingests extractions."""

import uuid

from app.api.parts import ApiParts
from app.domain.ids import RunId, project_id_of


class RequestRun:
    """The run that an ingesting request names in ``?run=``, and its ``Idempotency-Key``, if any.

    ``?run=`` is the id of a run that was begun before, or the name of a new run for this request.
    """

    def __init__(self, parts: ApiParts, project: str, run: str | None, key: str | None) -> None:
        self.parts = parts
        self.project = project
        self.key = key
        self._name = run
        self._id = None if run is None else _as_id(run)
        self._is_own = run is not None and self._id is None

    async def begin(self) -> RunId | None:
        """Return the run's id, or None without a run; begin a new run before the first write.

        With an ``Idempotency-Key``, the same request finds the run that it began before.

        Raises:
            InvalidField: the name is invalid.
        """
        if self._id is None and self._name is not None:
            project_id = project_id_of(self.project)
            known = None if self.key is None else RunId(uuid.uuid5(project_id, f"run:{self.key}:{self._name}"))
            self._id = (await self.parts.runs().begin(self.project, self._name, run_id=known)).id
        return self._id

    async def end(self) -> RunId | None:
        """End the run if this request began it. Return the run's id, if there is a run."""
        if self._is_own and self._id is not None:
            await self.parts.runs().end(self.project, self._id)
        return self._id

    async def give_up(self) -> None:
        """End the run of a failed request, unless a key lets the request be sent again."""
        if self.key is None:
            await self.end()


def _as_id(text: str) -> RunId | None:
    try:
        return RunId(uuid.UUID(text))
    except ValueError:
        return None
