"""How much of a core the simulator takes to serve meters, and how many requests it answers at most.

The devices are a process of their own; their share of a core is read from /proc. A client of bare sockets asks: each
meter once a second, spread over the second; then as fast as answers come, one question at a time on each connection.
What pymodbus' own server answers to that client, from registers that never change, stands beside it.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Sequence
from typing import Final

from bench.child import Helper, helper
from bench.processes import usage_of_tree
from bench.result import Report, compared, single
from bench.world import Size, World

__all__ = ["run"]

_SIZES: Final = {Size.FULL: (5000, 100, 30.0), Size.QUICK: (5000, 100, 8.0), Size.SMOKE: (40, 2, 1.0)}
"""Meters, endpoints, and how long each part lasts [s]."""
_REST_MS: Final = "1"
_LARGEST_SHARE: Final = 0.6
_REGISTERS: Final = 24
_WARM_UP_S: Final = 2.0


async def run(world: World) -> Report:
    """Serve, ask, and see what it costs."""
    meters, endpoints, seconds = _SIZES[world.size]
    of_each = meters // endpoints
    async with helper("bench.device_server", str(meters), str(endpoints), _REST_MS) as devices:
        ports: Sequence[int] = list(devices.said["ports"].values())
        world.say("serving", f"{meters:,} meters once a second")
        share, asked = await _part(devices, ports, of_each, seconds, once_a_second=True)
    async with helper("bench.device_server", str(meters), str(endpoints)) as devices:
        ports = list(devices.said["ports"].values())
        world.say("serving", "as fast as it answers")
        _, most = await _part(devices, ports, of_each, seconds, once_a_second=False)
    async with helper("bench.pymodbus_server", str(meters), str(endpoints)) as devices:
        ports = list(devices.said["ports"].values())
        world.say("serving", "pymodbus as fast as it answers")
        _, bare = await _part(devices, ports, of_each, seconds, once_a_second=False)
    is_judged = world.size is not Size.SMOKE
    return Report(
        [
            single(
                "serving",
                f"share of a core at {meters:,} polls/s",
                "1",
                share,
                target=f"<= {_LARGEST_SHARE:g}" if is_judged else "",
                met=share <= _LARGEST_SHARE if is_judged else None,
            ),
            single("serving", "polls answered meanwhile", "1/s", asked),
            compared("serving", "polls at most", "1/s", [(most, bare)]),
        ]
    )


async def _part(
    devices: Helper, ports: Sequence[int], of_each: int, seconds: float, *, once_a_second: bool
) -> tuple[float, float]:
    """Return the devices' share of a core, and the answers a second."""
    answers = [0]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_ask(port, of_each, answers, once_a_second=once_a_second)) for port in ports]
        await asyncio.sleep(_WARM_UP_S)
        before_s, began_s, already = usage_of_tree(devices.pid), time.monotonic(), answers[0]
        await asyncio.sleep(seconds)
        took_s = time.monotonic() - began_s
        found = (usage_of_tree(devices.pid) - before_s) / took_s, (answers[0] - already) / took_s
        for task in tasks:
            task.cancel()
    return found


async def _ask(port: int, units: int, answers: list[int], *, once_a_second: bool) -> None:
    """Ask every unit behind an endpoint in turn until cancelled."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        due_s = time.monotonic()
        while True:
            for unit in range(1, units + 1):
                if once_a_second:
                    due_s += 1.0 / units
                    await asyncio.sleep(max(due_s - time.monotonic(), 0.0))
                writer.write(struct.pack(">HHHBBHH", unit, 0, 6, unit, 3, 0, _REGISTERS))
                head = await reader.readexactly(6)
                answer = await reader.readexactly(struct.unpack(">H", head[4:])[0])
                if len(answer) != 3 + 2 * _REGISTERS:
                    raise RuntimeError(f"unit {unit} refuses {_REGISTERS} registers: {answer.hex()}")
                answers[0] += 1
    finally:
        writer.close()
