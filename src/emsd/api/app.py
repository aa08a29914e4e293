"""Builds the application; whoever runs it (uvicorn, a test) brings everything that it needs."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from emsd import __version__
from emsd.api.dependencies import ApiDependencies, ConfigurationCache
from emsd.api.problems import install_problem_handlers
from emsd.api.rolling import SumsCache
from emsd.api.routers import (
    activities,
    alarms,
    balance,
    carbon,
    certificates,
    cost,
    demand,
    energy,
    events,
    explain,
    export,
    footprint,
    kpi,
    live,
    plant,
    production,
    service,
    statements,
    sums,
    values,
)
from emsd.api.schemas.service import ProblemDetail
from emsd.api.security import BodyLimit, SecurityHeaders
from emsd.api.tables import ExportSlots

__all__ = ["create_app"]

_DESCRIPTION: Final = """
Energy, carbon, values and alarms of one site.

Times are RFC 3339 with an offset; answers are in UTC. Units stand in the names of fields. What is not known is null,
never 0. Errors are problem objects (RFC 9457). Everything that writes needs a bearer token.
"""


def create_app(dependencies: ApiDependencies) -> FastAPI:
    """Return the application for one site; it owns nothing, so pool and live values outlive it."""
    app = _with_all_operations()
    app.state.dependencies = dependencies
    app.state.configuration = ConfigurationCache(dependencies.pool, dependencies.site_id, dependencies.plant_age_s)
    app.state.sums = SumsCache(dependencies.pool, dependencies.sums_age_s)
    app.state.export_slots = ExportSlots(dependencies.exports_at_once)
    app.add_middleware(BodyLimit)
    app.add_middleware(SecurityHeaders)
    install_problem_handlers(app)
    app.openapi = _document  # type: ignore[method-assign]  # FastAPI's own way to extend the document
    return app


def _with_all_operations() -> FastAPI:
    app = FastAPI(
        title="emsd",
        version=__version__,
        summary="Real-time energy monitoring",
        description=_DESCRIPTION,
        redoc_url=None,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    for resource in (
        plant,
        values,
        energy,
        explain,
        events,
        balance,
        sums,
        export,
        demand,
        cost,
        carbon,
        certificates,
        activities,
        statements,
        kpi,
        production,
        footprint,
        alarms,
        live,
        service,
    ):
        app.include_router(resource.router)
    return app


@cache
def _document() -> dict[str, Any]:
    """Return the OpenAPI document with the schema of problems.

    It is that of every application here, and making it takes half a second: a process does it once.
    """
    app = _with_all_operations()
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        license_info=app.license_info,
    )
    schema = ProblemDetail.model_json_schema(ref_template="#/components/schemas/{model}")
    document["components"]["schemas"] |= {**schema.pop("$defs", {}), "ProblemDetail": schema}
    return document
