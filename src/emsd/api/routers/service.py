"""The service itself: alive, ready, and its metrics."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

import structlog
from fastapi import APIRouter, Depends, Request, Response

from emsd import __version__
from emsd.api.dependencies import ApiDependencies, Given, ReadinessProbe
from emsd.api.exposition import exposition
from emsd.api.parameters import refuse_unknown_parameters
from emsd.api.problems import Problem, problem_responses
from emsd.api.schemas.service import Health, Readiness
from emsd.errors import StoreError
from emsd.store.reads import answers

__all__ = ["router"]

router = APIRouter(tags=["service"], dependencies=[Depends(refuse_unknown_parameters)])

_PROBE_TIMEOUT_S: Final = 3.0

_log = structlog.get_logger(__name__)


@router.get("/healthz", summary="Is the process alive", responses=problem_responses(422))
async def healthz() -> Health:
    """Return 200 as long as the process answers; restart it when it does not."""
    return Health(status="alive", version=__version__)


@router.get("/readyz", summary="Is everything there that it needs", responses=problem_responses(422, 503))
async def readyz(given: Given) -> Readiness:
    """Return 200 when the database, every connection and accounting are ready, else 503 naming what is not, and why."""
    probes: dict[str, ReadinessProbe] = {"database": lambda: _database(given), **given.readiness}
    reasons = await asyncio.gather(*(_ask(probe) for probe in probes.values()))
    not_ready = {name: reason for name, reason in zip(probes, reasons, strict=True) if reason is not None}
    if not_ready:
        detail = "; ".join(f"{name}: {reason}" for name, reason in not_ready.items())
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "not-ready", detail, members={"not_ready": not_ready})
    return Readiness(status="ready", checked=sorted(probes))


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problem_responses(422)},
)
async def metrics(request: Request, given: Given) -> Response:
    """Return the metrics of this process, as Prometheus text or OpenMetrics by the Accept header."""
    text, content_type = await exposition(given.registry, request.headers.get("accept", ""))
    return Response(text, headers={"Content-Type": content_type})


async def _ask(probe: ReadinessProbe) -> str | None:
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            return await probe()
    except TimeoutError:
        return f"gave no answer within {_PROBE_TIMEOUT_S:.0f} s"


async def _database(given: ApiDependencies) -> str | None:
    try:
        await answers(given.pool)
    except StoreError as error:
        _log.warning("readiness_database_unavailable", error=str(error))
        return "cannot be reached"
    return None
