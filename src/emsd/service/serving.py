"""The API of a running process: its listener, its server, and what it says of itself."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog
import uvicorn
from fastapi import FastAPI

from emsd.errors import ServerError

__all__ = ["serve_app"]

_log = structlog.get_logger(__name__)

_UVICORN: Final[dict[str, Any]] = {
    "log_config": None,
    "access_log": False,
    "lifespan": "off",
    "server_header": False,
    "timeout_graceful_shutdown": 3,
}


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has one owner of signals, and that is the command line."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_app(app: FastAPI, host: str, port: int) -> None:
    """Serve an application until cancelled; port 0 takes a free one, which the log tells.

    Raises:
        ServerError: the address cannot be listened on.
    """
    # The first request with a parameter asks for it, and making it takes half a second that polls do not have.
    await asyncio.to_thread(app.openapi)
    with _listening(host, port) as listener:
        _log.info("api_listening", url=f"http://{host}:{listener.getsockname()[1]}")
        server = _Server(uvicorn.Config(app, **_UVICORN))
        task = asyncio.create_task(server.serve(sockets=[listener]), name="api-server")
        try:
            await asyncio.shield(task)
        finally:
            # uvicorn stops in order only when asked; a cancelled serve() would leave its connections open.
            server.should_exit = True
            await task


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ServerError(
            f"the API cannot listen on {host}:{port} ({error.strerror or error}); "
            "stop what uses that port, or set EMSD_API_PORT"
        ) from error
    with listener:
        yield listener
