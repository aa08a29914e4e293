"""The control API of a running simulator: one HTTP service for whoever makes its devices fail, or compares with it.

    GET    /status     who runs, and what was asked of it
    GET    /truth      true energy of every meter and area, in ?from=&to=
    GET    /scenarios  what changes in the plant, with ?from=&to= the true cost of each
    GET    /kinds      the kinds of faults with their parameters
    GET    /faults     the record of every fault so far, with ?from=&to= of those in force in a window
    POST   /faults     adds one
    DELETE /faults/N   ends it

The application belongs to one simulator. Further routers find it by `RunningSimulator` and join by `routers`:

    async with Simulator(plant, profiles) as simulator, serve_control(create_control(simulator)) as url:
        ...

On the loopback interface it asks no password, and answers programs only: whatever a browser sends for a page of another
site is refused. On any other address every request needs a bearer token.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import structlog
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from emsd.errors import ConfigurationError, ServerError
from emsd.readings import to_datetime
from simulator.control_faults import router as _faults
from simulator.hosts import is_loopback
from simulator.running import RunningSimulator
from simulator.scenario_api import router as _scenarios
from simulator.scenario_api import state_of
from simulator.service import Simulator
from simulator.truth_api import router as _truth

__all__ = ["RunningSimulator", "create_control", "serve_control"]

_log = structlog.get_logger(__name__)

_LOOPBACK: Final = "127.0.0.1"
_UVICORN: Final[dict[str, Any]] = {
    "log_config": None,
    "access_log": False,
    "lifespan": "off",
    "server_header": False,
    "timeout_graceful_shutdown": 1,
}


class Status(BaseModel):
    """A running simulator."""

    site: int
    name: str
    time_zone: str
    seed: int
    began: datetime = Field(description="Since when its devices answer.")
    now: datetime = Field(description="What its clock says.")
    meters: int
    faults_in_force: int
    scenarios_in_force: list[str] = Field(description="Keys of the scenarios that have begun and are not over.")
    requests: int = Field(description="Modbus requests answered.")
    published: int = Field(description="MQTT messages that the broker took.")
    lost: int = Field(description="MQTT messages that no broker took.")


_router = APIRouter()


@_router.get("/status")
async def status(request: Request, simulator: RunningSimulator) -> Status:
    """Return who is running, and since when."""
    site, now_us = simulator.plant.site, simulator.now_us()
    return Status(
        site=site.number,
        name=site.name,
        time_zone=site.time_zone,
        seed=simulator.truth.seed,
        began=request.app.state.began,
        now=to_datetime(now_us),
        meters=len(simulator.plant.meters),
        faults_in_force=simulator.faults.in_force,
        scenarios_in_force=[each.key for each in simulator.scenarios.scenarios if state_of(each, now_us) == "in_force"],
        requests=sum(simulator.requests.values()),
        published=sum(simulator.published.values()),
        lost=sum(simulator.lost.values()),
    )


def create_control(simulator: Simulator, routers: Sequence[APIRouter] = (), *, token: str | None = None) -> FastAPI:
    """Return the application of a simulator that runs from now on, with further routes.

    token  what every request has to bring as `Authorization: Bearer <token>`; None: none, on the loopback only
    """
    app = FastAPI(
        title="emsd simulator", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(_allowed)]
    )
    app.state.simulator = simulator
    app.state.token = token
    app.state.began = to_datetime(simulator.now_us())
    app.add_exception_handler(RequestValidationError, _refused)
    for each in (_router, _faults, _truth, _scenarios, *routers):
        app.include_router(each)
    return app


async def _refused(_: Request, error: Exception) -> JSONResponse:
    """Say what is wrong with a request without repeating it: NaN, which it may hold, is no JSON."""
    said = error.errors() if isinstance(error, RequestValidationError) else []
    detail = [{name: each[name] for name in ("type", "loc", "msg")} for each in said]
    return JSONResponse({"detail": detail}, HTTPStatus.UNPROCESSABLE_ENTITY)


async def _allowed(request: Request) -> None:
    """Let through who shows the token; without one, programs of this machine and no page in a browser."""
    token: str | None = request.app.state.token
    if token is not None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.casefold() != "bearer" or not secrets.compare_digest(given.encode(), token.encode()):
            raise HTTPException(
                HTTPStatus.UNAUTHORIZED,
                "send the token of this simulator as Authorization: Bearer ...",
                {"WWW-Authenticate": 'Bearer realm="emsd simulator"'},
            )
    # A name of another site may lead here (DNS rebinding), and a page may post blindly to any address.
    elif not is_loopback(request.url.hostname or "") or "origin" in request.headers:
        raise HTTPException(HTTPStatus.FORBIDDEN, "without a token this is for programs on the same machine")


@asynccontextmanager
async def serve_control(app: FastAPI, port: int = 0, *, host: str = _LOOPBACK) -> AsyncIterator[str]:
    """Serve the application until the block ends, and yield its URL; port 0 takes a free one.

    Raises:
        ConfigurationError: other machines could reach it, and it has no token.
        ServerError: the address cannot be listened on.
    """
    if app.state.token is None and not is_loopback(host):
        raise ConfigurationError(
            f"the simulator's control would listen on {host}, which other machines can reach, and asks no token; "
            "set EMSD_SIMULATOR_TOKEN, or use a loopback address"
        )
    with _listening(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{listener.getsockname()[1]}"
        server = _Server(uvicorn.Config(app, **_UVICORN))
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="simulator-control")
        _log.info("simulator_control_listening", url=url)
        try:
            yield url
        finally:
            # uvicorn stops in order only when asked; a cancelled serve() would leave its connections open.
            server.should_exit = True
            await serving


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: whoever runs the simulator owns the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ServerError(
            f"the simulator's control cannot listen on {host}:{port} ({error.strerror or error}); "
            "stop what uses that port, or choose another with --control-port"
        ) from error
    with listener:
        yield listener
