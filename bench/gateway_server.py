"""Helper: a gateway with simulated meters behind one serial line; says on which port it listens.

python -m bench.gateway_server UNITS DEAD DIES_AFTER_S

It serves one request after the other, each as long as its frames take on a line of 115,200 baud. The last DEAD of its
units never answer from DIES_AFTER_S on, and the gateway says nothing in their place, which is the worst it can do.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Final

import structlog

from bench.child import run_helper, tell_and_wait
from simulator import Simulator
from simulator.fleet import fleet
from simulator.modbus_server import ModbusEndpoint

_BYTE_S: Final = 11 / 115_200
"""A byte on the line: 8 bits, start, parity and stop (MODBUS over Serial Line V1.02, section 2.5.1)."""
_HEADER_BYTES: Final = 6
_REQUEST_BYTES: Final = 12
_CRC_BYTES: Final = 2
_SILENCE_S: Final = 2 * 0.00175
"""Between two frames at more than 19,200 baud (the same, section 2.5.1.1); one before and one after the answer."""


class _Gateway:
    """Answers what is asked, late as a serial line is."""

    def __init__(self, endpoint: ModbusEndpoint, dead: frozenset[int], dies_after_s: float) -> None:
        self._endpoint = endpoint
        self._dead = dead
        self._dies_at = asyncio.get_running_loop().time() + dies_after_s
        self._line = asyncio.Lock()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it goes."""
        try:
            while True:
                frame = await reader.readexactly(_REQUEST_BYTES)
                async with self._line:
                    answer = b"" if self._is_dead(frame[_HEADER_BYTES]) else self._endpoint.answer(frame)
                    on_line = len(frame) + len(answer) - 2 * (_HEADER_BYTES - _CRC_BYTES)
                    await asyncio.sleep(_BYTE_S * on_line + _SILENCE_S)
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            # It is the outermost call of its task; asyncio 3.11 takes a cancelled one for a fault.
            pass
        finally:
            writer.close()

    def _is_dead(self, unit: int) -> bool:
        return unit in self._dead and asyncio.get_running_loop().time() >= self._dies_at


async def serve() -> None:
    """Serve until standard input is closed."""
    units, dead, dies_after_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    plant, profiles = fleet(units, 1)
    async with Simulator(plant, profiles, free_ports=True) as simulator:
        endpoint = simulator.endpoints["gateway-0"]
        gateway = _Gateway(endpoint, frozenset(range(units - dead + 1, units + 1)), dies_after_s)
        server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
        async with server:
            await tell_and_wait({"port": server.sockets[0].getsockname()[1]})


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    run_helper(serve)
