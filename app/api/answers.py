"""Answers as orjson writes them, cursors, and bodies read as exactly as the command line reads lines."""

import base64
import binascii
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.api.middleware import media_type
from app.api.problems import Refused
from app.errors import InvalidField, InvalidInput
from app.intake.json_lines import decode


def answer_json(content: object, status: int = 200) -> Response:
    """JSON that is known to fit its schema, and so is checked by nobody."""
    return Response(as_json(content), status, media_type="application/json")


def as_json(content: object) -> bytes:
    """JSON with times spelt as in every other answer."""
    return orjson.dumps(content, option=orjson.OPT_UTC_Z)


def write_cursor(*place: object) -> str:
    """An opaque cursor that names a place in a list."""
    return base64.urlsafe_b64encode(orjson.dumps(place, default=str)).decode().rstrip("=")


def read_cursor(cursor: str, parts: int) -> list[str]:
    """The place that a cursor names.

    Raises:
        InvalidField: it isn't one of ours.
    """
    try:
        place = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        place = None
    if not isinstance(place, list) or len(place) != parts or not all(isinstance(each, str) for each in place):
        raise no_cursor()
    return place


def no_cursor() -> InvalidField:
    """What is wrong with a cursor that names no place."""
    return InvalidField("cursor", "is none that this service made; begin again without it")


class ExactRequest(Request):
    """Reads JSON exactly: no number is rounded, and what can't be read is the client's mistake."""

    async def json(self) -> Any:  # noqa: ANN401 - JSON
        """The body.

        Raises:
            Refused: it isn't JSON.
        """
        try:
            return decode(await self.body())
        except InvalidInput as error:
            raise Refused(422, "invalid-json", str(error)) from None


class ExactRoute(APIRoute):
    """A route whose JSON body is read by :class:`ExactRequest`, and which says so when it gets another kind."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See :class:`APIRoute`."""
        handle = super().get_route_handler()

        async def handle_exactly(request: Request) -> Response:
            if self.body_field is not None and media_type(request.headers) != "application/json":
                raise Refused(415, "media-type", "the body must be application/json")
            return await handle(ExactRequest(request.scope, request.receive))

        return handle_exactly
