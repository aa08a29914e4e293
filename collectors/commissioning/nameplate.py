"""What a SunSpec device says of itself: its models, and the ratings on its nameplate (model 120)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from collectors.commissioning.probing import Device
from collectors.modbus.sunspec import walk_models
from collectors.modbus.sunspec_models import Definition, definition
from emsd.errors import CollectError
from emsd.plant.modbus_map import Table

__all__ = ["Model", "Nameplate", "read_nameplate"]

_NAMEPLATE: Final = 120
_ABSENT: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Model:
    """One model in the device's chain: its number, the address of that number, and the name of its definition."""

    number: int
    address: int
    title: str


@dataclass(frozen=True, slots=True)
class Nameplate:
    """The chain of a device, and its rated active power [kW], where it has a nameplate that says so."""

    models: tuple[Model, ...]
    rated_power_kw: float | None


async def read_nameplate(device: Device, bases: Sequence[int]) -> Nameplate | None:
    """Walk a device's chain and read its nameplate; None when it is no SunSpec device.

    Args:
        device: what to ask.
        bases: addresses where the marker may stand.
    """
    try:
        found = await walk_models(partial(device.read, Table.HOLDING), bases)
    except CollectError:
        return None
    models = tuple(Model(number, address, _title(definition(number))) for number, address in found.items())
    address = found.get(_NAMEPLATE)
    return Nameplate(models, None if address is None else await _rated_power_kw(device, address))


async def _rated_power_kw(device: Device, address: int) -> float | None:
    known = definition(_NAMEPLATE)
    if known is None:
        return None
    rating = known.points["WRtg"]
    try:
        value = int.from_bytes(await device.read(Table.HOLDING, address + rating.offset, 1), "big")
        scale = await device.read(Table.HOLDING, address + (rating.scale_offset or 0), 1)
    except CollectError:
        return None
    power = int.from_bytes(scale, "big", signed=True)
    return None if value == _ABSENT or not -10 <= power <= 10 else value * 10.0 ** (power - 3)


def _title(known: Definition | None) -> str:
    return known.title if known is not None else "of the vendor"
