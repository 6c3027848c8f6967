"""The FastAPI application: routes, middleware and error handlers over a running container."""

import asyncio
from functools import cached_property
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from app.api.admission import Admission, AdmissionMiddleware, WorkMiddleware
from app.api.bodies import BodyMiddleware
from app.api.change_streams import ChangeStreams
from app.api.event_streams import StreamPlaces
from app.api.job_streams import JobStreams
from app.api.keys import KeyMiddleware
from app.api.middleware import PrefixMiddleware, RequestMiddleware
from app.api.parts import ApiOptions, ApiParts
from app.api.problems import (
    PROBLEM_SCHEMA,
    answer_http,
    answer_storage_error,
    answer_unexpected,
    answer_validation,
    documented,
)
from app.api.routes import (
    changes,
    docs,
    export,
    extractions,
    fields,
    jobs,
    projects,
    runs,
    search,
    sources,
    status,
)
from app.api.waiting import JobWaits
from app.errors import AgentStorageError

_KEYS = [
    Depends(HTTPBearer(auto_error=False, description="One of the service's keys.")),
    Depends(APIKeyHeader(name="X-API-Key", auto_error=False, description="One of the service's keys.")),
]


_TOLD_TO_PAGES = ("x-request-id", "x-next-cursor", "x-warnings", "retry-after")
"""The response headers that pages of other origins may read besides the standard ones."""


class Application(FastAPI):
    """FastAPI, with the problem schema among its components, and the methods of each path."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - FastAPI's
        self.methods_by_path: dict[str, set[str]] = {}
        super().__init__(**options)

    def include_router(self, router: APIRouter, **options: Any) -> None:  # noqa: ANN401 - FastAPI's
        """Include the router, and note its paths; making the document takes half a second."""
        super().include_router(router, **options)
        for route in router.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                self.methods_by_path.setdefault(route.path, set()).update(route.methods or ())

    @cached_property
    def _document(self) -> dict[str, Any]:
        document = super().openapi()
        document["components"]["schemas"]["Problem"] = PROBLEM_SCHEMA
        return document

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return self._document


def create_app(parts: ApiParts, options: ApiOptions) -> Application:
    """Create the whole API. A server that stops sets ``app.state.stopping``, to end streams."""
    app = Application(
        title="agent-storage",
        version=version("agent-storage"),
        summary="Stores extractions durably, indexes them, and finds them by meaning and by filter.",
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    # Each router has its full prefix: with `include_router(prefix=...)` a route's template, which
    # labels logs and metrics, would lack it. Routes are tried in order, so searches come first.
    for part in (search, projects, sources, extractions, fields, export, runs, changes, jobs):
        app.include_router(
            part.router, dependencies=_KEYS, responses=documented(401, 403, 408, 413, 414, 415, 422, 500, 503)
        )
    app.include_router(status.metrics_router, dependencies=_KEYS, responses=documented(401, 403, 500, 503))
    return _completed(app, parts, options)


def create_status_app(parts: ApiParts, options: ApiOptions) -> Application:
    """Create an app of ``/health`` and ``/metrics``, for a process that only runs workers."""
    app = Application(
        title="agent-storage worker",
        version=version("agent-storage"),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(status.own_metrics_router, dependencies=_KEYS, responses=documented(401, 403, 500, 503))
    return _completed(app, parts, options)


def _completed(app: Application, parts: ApiParts, options: ApiOptions) -> Application:
    app.include_router(status.router)
    app.include_router(docs.router)
    app.state.parts = parts
    app.state.options = options
    app.state.stopping = asyncio.Event()
    places = StreamPlaces()
    app.state.stream_places = places
    app.state.streams = JobStreams(parts, app.state.stopping, places)
    app.state.change_streams = ChangeStreams(parts, app.state.stopping, places)
    app.add_exception_handler(AgentStorageError, answer_storage_error)
    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(RequestValidationError, answer_validation)
    app.add_exception_handler(Exception, answer_unexpected)
    admission = Admission(options.max_at_work)
    app.state.waits = JobWaits(parts, app.state.stopping, places, admission)
    app.add_middleware(BodyMiddleware, options=options)
    app.add_middleware(WorkMiddleware, admission=admission)
    app.add_middleware(
        KeyMiddleware, keys=options.api_keys, host=options.host, cors_origins=options.cors_origins
    )
    if options.cors_origins:
        # Before the keys are checked: a browser sends its preflight request without one.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=options.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=_TOLD_TO_PAGES,
        )
    app.add_middleware(RequestMiddleware, instruments=parts.instruments, keys=options.api_keys)
    app.add_middleware(AdmissionMiddleware, admission=admission, instruments=parts.instruments)
    if options.root_path:
        app.add_middleware(PrefixMiddleware, prefix=options.root_path)
    return app
