"""Helper: pymodbus' own servers with as many units as `bench.device_server`; says on which ports they listen.

python -m bench.pymodbus_server METERS ENDPOINTS
"""

from __future__ import annotations

import sys
from typing import Final

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from bench.child import run_helper, tell_and_wait
from emsd.servers.process import free_port

_REGISTERS: Final = 200


async def serve() -> None:
    """Serve until standard input is closed."""
    meters, endpoints = int(sys.argv[1]), int(sys.argv[2])
    ports: dict[str, int] = {}
    for number in range(endpoints):
        registers = SimData(0, values=list(range(_REGISTERS)), datatype=DataType.REGISTERS)
        units = [SimDevice(unit, simdata=[registers]) for unit in range(1, meters // endpoints + 1)]
        port = ports[str(number)] = free_port()
        await ModbusTcpServer(units, address=("127.0.0.1", port)).serve_forever(background=True)
    await tell_and_wait({"ports": ports})


if __name__ == "__main__":
    run_helper(serve)
