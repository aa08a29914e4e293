"""Helper: the API alone, by uvicorn on a free loopback port; says on which.

EMSD_DATABASE_URL=... python -m bench.api_server SUMS_AGE_S
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import uvicorn
from prometheus_client import CollectorRegistry

from bench.child import run_helper, tell_and_wait
from emsd.api import ApiDependencies, create_app
from emsd.store.pool import open_pool


async def serve() -> None:
    """Serve until standard input is closed."""
    async with open_pool(os.environ["EMSD_DATABASE_URL"]) as pool:
        app = create_app(
            ApiDependencies(pool=pool, site_id=1, registry=CollectorRegistry(), sums_age_s=float(sys.argv[1]))
        )
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=3)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listener]), name="api-server")
            await tell_and_wait({"port": listener.getsockname()[1]})
            server.should_exit = True
            await serving


if __name__ == "__main__":
    run_helper(serve)
