"""``/health``, ``/metrics`` and ``/v1/metrics``: the process's health and measurements."""

import logging
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from app.api.answers import ExactRoute
from app.api.parts import PartsOf
from app.api.schemas.status import Liveness, Measurements, Part, Readiness
from app.services.health import PartHealth

logger = logging.getLogger(__name__)

router = APIRouter(tags=["status"], route_class=ExactRoute)
metrics_router = APIRouter(tags=["status"], route_class=ExactRoute)
own_metrics_router = APIRouter(tags=["status"], route_class=ExactRoute)

_PATIENCE_S = 0.8
_NECESSARY = ("database", "qdrant", "index", "executor")
_METRICS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The text format of Prometheus.", "content": {"text/plain": {}}}
}


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live")
async def live() -> Liveness:
    """Report that the process answers; nothing else is checked."""
    return Liveness(ok=True)


@router.head("/health/ready", include_in_schema=False)
@router.get(
    "/health/ready",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "A component isn't ready; `parts` names it."}},
)
async def ready(parts: PartsOf) -> Response:
    """Check the database, Qdrant, the index and the executor, each with its latency.

    The check takes a second at most.
    """
    found = await parts.health().check(timeout_s=_PATIENCE_S, parts=_NECESSARY)
    ok = all(part.ok for part in found)
    body = Readiness(ok=ok, parts=[_part(part) for part in found])
    return JSONResponse(body.model_dump(mode="json"), 200 if ok else 503)


@metrics_router.head("/metrics", include_in_schema=False)
@metrics_router.get("/metrics", response_class=Response, responses=_METRICS)
async def metrics(parts: PartsOf) -> Response:
    """Get all metrics, for Prometheus."""
    body, content_type = await parts.metrics_exporter().render()
    return Response(body, media_type=content_type)


@metrics_router.get("/v1/metrics")
async def measurements(parts: PartsOf) -> Measurements:
    """Get a snapshot with exact counts: job durations, jobs, extractions, the pool and lanes."""
    return Measurements.model_validate((await parts.metrics_collector().collect()).as_dict())


@own_metrics_router.head("/metrics", include_in_schema=False)
@own_metrics_router.get("/metrics", response_class=Response, responses=_METRICS)
async def own_metrics(parts: PartsOf) -> Response:
    """Get this process's metrics, without the stores' contents, which another process reports."""
    body, content_type = await parts.metrics_exporter().render(stores=False)
    return Response(body, media_type=content_type)


def _part(health: PartHealth) -> Part:
    """Log the details and leave them out of the answer, because it needs no key."""
    if health.error is not None:
        logger.warning("%s isn't ready: %s", health.part, health.error)
    told = health.error if health.timed_out or health.ok else "not working at the moment; the log says why"
    return Part(part=health.part, ok=health.ok, latency_seconds=round(health.latency_seconds, 4), error=told)
