"""Helper: the simulator's Modbus servers for a fleet of equal meters; says on which ports they listen.

python -m bench.device_server METERS ENDPOINTS
"""

from __future__ import annotations

import logging
import sys

import structlog

from bench.child import run_helper, tell_and_wait
from simulator import Simulator
from simulator.fleet import fleet


async def serve() -> None:
    """Serve until standard input is closed."""
    plant, profiles = fleet(int(sys.argv[1]), int(sys.argv[2]))
    async with Simulator(plant, profiles, free_ports=True) as simulator:
        await tell_and_wait({"ports": simulator.ports})


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    run_helper(serve)
