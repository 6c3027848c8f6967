"""JSON answers written by orjson, and exact parsing of JSON request bodies."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from app.api.bodies import media_type
from app.api.parameters import Parameters
from app.api.problems import Refused
from app.api.schemas.values import MOST_FAULTS
from app.errors import InvalidInput
from app.executor import Lane
from app.intake.exact_json import decode
from app.intake.formats import BOM

_AT_ONCE_BYTES = 2 * 2**20
"""How much JSON is written before the event loop's other tasks get a turn."""

_ON_THE_LOOP_BYTES = 16 * 2**10
"""A body up to this size is parsed and validated in less time than a thread takes to start."""


def answer_json(content: object, status: int = 200) -> Response:
    """Make a JSON answer without validation; the content is known to fit its schema."""
    return Response(as_json(content), status, media_type="application/json")


async def answer_items(items: Iterable[object], rest: Mapping[str, object]) -> Response:
    """Make a JSON answer of ``items`` and the members of ``rest``; yield between large items."""
    pieces, written = list[bytes](), 0
    for item in items:
        pieces.append(as_json(item))
        written += len(pieces[-1])
        if written > _AT_ONCE_BYTES:
            written = 0
            await asyncio.sleep(0)
    body = b'{"items":[' + b",".join(pieces) + b"]," + as_json(rest)[1:]
    return Response(body, media_type="application/json")


def as_json(content: object) -> bytes:
    """Encode as JSON, with UTC times written as ``Z`` as in every other answer."""
    return orjson.dumps(content, option=orjson.OPT_UTC_Z)


class ExactRequest(Request):
    """A request whose JSON body is parsed exactly and validated before the route gets it.

    No number is rounded and no member is dropped; a body that can't be parsed is a client error.
    """

    _checked: BaseModel | None = None

    async def check(self, schema: type[BaseModel], lane: Lane) -> None:
        """Read the body and validate it against ``schema``; a large one on a thread of ``lane``.

        Raises:
            Refused: the body isn't JSON.
            RequestValidationError: the body doesn't fit the schema.
        """
        raw = await self.body()
        if len(raw) > _ON_THE_LOOP_BYTES:
            self._checked = await lane.run(_checked_body, raw, schema)
        elif raw:
            self._checked = _checked_body(raw, schema)

    async def json(self) -> Any:  # noqa: ANN401 - JSON
        """Return the body that :meth:`check` has validated."""
        return self._checked


class ExactRoute(APIRoute):
    """A route that refuses unknown query parameters and reads JSON by :class:`ExactRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See :class:`APIRoute`."""
        handle = super().get_route_handler()
        parameters = Parameters.of(_query_params(self.dependant))
        body = None if self.body_field is None else self.body_field.field_info
        schema = None if body is None else _schema(body)
        optional = body is not None and not body.is_required()

        async def handle_exactly(request: Request) -> Response:
            parameters.check(request.scope["query_string"])
            exact = ExactRequest(request.scope, request.receive)
            left_out = optional and "content-type" not in request.headers
            if schema is not None and not left_out:
                if media_type(request.headers) != "application/json":
                    raise Refused(415, "media-type", "the body must be application/json")
                await exact.check(schema, request.app.state.parts.files_lane())
            return await handle(exact)

        return handle_exactly


def _query_params(route: Dependant) -> list[tuple[str, FieldInfo]]:
    """Return the query parameters of a route and of its dependencies, by name."""
    own = [(each.alias, each.field_info) for each in route.query_params]
    return own + [each for dependency in route.dependencies for each in _query_params(dependency)]


def _schema(body: FieldInfo) -> type[BaseModel]:
    schema = body.annotation
    assert isinstance(schema, type)  # noqa: S101 - each route takes its body as one model
    assert issubclass(schema, BaseModel)  # noqa: S101 - likewise
    return schema


def _checked_body(raw: bytes, schema: type[BaseModel]) -> BaseModel:
    try:
        document = decode(raw.removeprefix(BOM))
    except InvalidInput as error:
        raise Refused(422, "invalid-json", str(error)) from None
    try:
        return schema.model_validate(document)
    except ValidationError as error:
        faults = error.errors(include_url=False)[:MOST_FAULTS]
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from None
