"""Where the models of a SunSpec device stand: found by walking its chain, never by fixed addresses.

SunSpec Device Information Model Specification: at one of three base addresses stands "SunS"; after it come models, each
with its number, its length and its data, until model FFFFh. Order and set differ by device and firmware, and model 1 is
65 or 66 registers long.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from collectors.modbus.plan import Target
from emsd.errors import CollectError, DeviceException
from emsd.plant.modbus_map import ModbusPoint

__all__ = ["Read", "place_points", "walk_models"]

Read = Callable[[int, int], Awaitable[bytes]]
"""Reads `count` holding registers from `address`; raises CollectError."""

MARKER: Final = b"SunS"
END_OF_CHAIN: Final = 0xFFFF
MOST_MODELS: Final = 64
"""Longer chains are taken for garbage; real devices have fewer than 30 models."""

_HEADER: Final = struct.Struct(">HH")


async def walk_models(read: Read, bases: Iterable[int]) -> dict[int, int]:
    """Return where each model begins (the address of its number); of several of one number, the first.

    Raises:
        CollectError: there is no SunSpec marker at any base, or the device does not answer.
    """
    tried = list(bases)
    for base in tried:
        try:
            marker = await read(base, 2)
        except DeviceException:
            continue
        if marker == MARKER:
            return await _walk_from(read, base + 2)
    raise CollectError(
        f"the device has no SunSpec marker at {', '.join(map(str, tried))}; "
        "enable SunSpec Modbus on it, or choose its own profile"
    )


async def _walk_from(read: Read, address: int) -> dict[int, int]:
    models: dict[int, int] = {}
    for _ in range(MOST_MODELS):
        if address > 65534:
            break
        try:
            number, length = _HEADER.unpack(await read(address, 2))
        except DeviceException:
            # Some devices leave the end marker out and refuse to be read beyond their last model.
            break
        if number == END_OF_CHAIN or length == 0:
            break
        models.setdefault(number, address)
        address += 2 + length
    return models


def place_points(
    points: Iterable[ModbusPoint], models: Mapping[int, int]
) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """Return the points as targets at absolute addresses, and the quantities whose model the device does not have.

    Points with an address of their own keep it.
    """
    targets: list[Target] = []
    absent: list[str] = []
    for point in points:
        base = 0 if point.model is None else models.get(point.model)
        if base is None:
            absent.append(point.quantity)
            continue
        own = point.address if point.address is not None else base + (point.offset or 0)
        scale = point.scale_register
        scale_address = None
        if scale is not None:
            scale_address = scale.address if scale.address is not None else base + (scale.offset or 0)
        targets.append(Target(point, own, scale_address))
    return tuple(targets), tuple(absent)
