"""Helper: the simulator's Modbus servers for a fleet of equal meters; says on which ports they listen.

python -m bench.device_server METERS ENDPOINTS [REST_MS]

With REST_MS it looks at its sockets so often [ms] and answers all that came, as devices take their time and network
cards gather what they deliver. Else every request on the loopback interface wakes this process, and the sender is who
pays for that: on a virtual machine more than for all the rest of a request.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time

import structlog

from bench.child import run_helper, tell_and_wait
from simulator import Simulator
from simulator.fleet import fleet


async def serve() -> None:
    """Serve until standard input is closed."""
    plant, profiles = fleet(int(sys.argv[1]), int(sys.argv[2]))
    rest_s = float(sys.argv[3]) / 1000 if len(sys.argv) > 3 else 0.0
    async with Simulator(plant, profiles, free_ports=True) as simulator:
        resting = asyncio.create_task(_rest(rest_s), name="resting") if rest_s else None
        await tell_and_wait({"ports": simulator.ports})
        if resting is not None:
            resting.cancel()


async def _rest(seconds: float) -> None:
    while True:
        time.sleep(seconds)  # noqa: ASYNC251 - nothing shall wake it
        await asyncio.sleep(0)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    run_helper(serve)
