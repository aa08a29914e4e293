"""What is known of one device beside its values: who it is, and the settings that its points depend on.

A device is met at the first contact, after it was away, and over a new connection. A gateway's connection is opened
again for every unit that stays silent, so new connections alone make a device be met once a minute at most.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from collectors.modbus.careful import CarefulReader, Line
from collectors.modbus.device import decode_identity, decode_parameter
from emsd.collector import DeviceIdentity
from emsd.errors import WrongDevice
from emsd.plant.modbus_map import IdentityRegister, ModbusMap, Parameter
from emsd.plant.models import Meter

__all__ = ["Acquaintance"]

log = structlog.get_logger(__name__)

MEET_AGAIN_S: Final = 60.0
"""A device that answered all the time is met again no sooner than this, however often its connection is opened."""

KEPT_INTERVALS: Final = 10
"""For so many of its intervals a parameter that cannot be read again keeps its value."""


ASK_AGAIN_S: Final = 10.0
"""A parameter that could not be read is asked for again after this time, or its interval if that is shorter."""


@dataclass(slots=True)
class _Setting:
    parameter: Parameter
    value: float | None = None
    due: float = 0.0
    known_until: float = 0.0


class Acquaintance:
    """The acquaintance with the device behind one meter.

    Args:
        meter: what the plant says of it.
        registers: map of its profile.
    """

    def __init__(self, meter: Meter, registers: ModbusMap) -> None:
        self._meter = meter
        self._map = registers
        self._reader = CarefulReader(meter.key)
        self._settings = [_Setting(parameter) for parameter in registers.parameters]
        self._refresh_at = 0.0 if self._settings else math.inf
        self._identity = DeviceIdentity()
        self._away = True
        self._client: object = None
        self._met_at = -math.inf

    @property
    def parameters(self) -> Mapping[str, float]:
        """What is known of the device's parameters, by name."""
        return {each.parameter.name: each.value for each in self._settings if each.value is not None}

    def is_fresh(self, client: object, now: float) -> bool:
        """Whether nothing has to be asked before the device is polled over `client` at `now` (monotonic [s])."""
        return now < self._refresh_at and not self._to_be_met(client, now)

    def lost(self) -> None:
        """The device was away: whoever answers next has to be met."""
        self._away = True

    async def renew(self, client: object, registers: Sequence[IdentityRegister], line: Line) -> DeviceIdentity | None:
        """Ask for what has to be known now; return who the device is if it was met, None if that was not due.

        Args:
            client: the connection that `line` uses.
            registers: where the device says who it is.
            line: the way to it.

        Raises:
            WrongDevice: it is not the one that the plant's description or the profile says.
            CollectError: it did not answer.
        """
        now = time.monotonic()
        if not self._to_be_met(client, now):
            await self._refresh(now, line)
            return None
        identity = await self._meet(registers, line)
        if identity != self._identity:
            self._identity = identity
            for each in self._settings:
                each.value = None
        for each in self._settings:
            each.due = now
        await self._refresh(now, line)
        self._client, self._met_at, self._away = client, now, False
        return identity

    def _to_be_met(self, client: object, now: float) -> bool:
        return self._away or (client is not self._client and now >= self._met_at + MEET_AGAIN_S)

    async def _meet(self, registers: Sequence[IdentityRegister], line: Line) -> DeviceIdentity:
        told: dict[str, str] = {}
        for register in registers:
            name = f"identity {register.what}"
            payload = await self._reader.read(line, name, register.table, register.address, register.length)
            if payload is None:
                continue
            value = decode_identity(register, payload, self._map)
            if register.expect is not None and (value is None or re.fullmatch(register.expect, value) is None):
                raise self._wrong(register.what, value, f"the profile expects {register.expect!r}")
            if value is not None:
                told.setdefault(register.what, value)
        serial, wanted = told.get("serial"), self._meter.serial
        if serial is not None and wanted is not None and not _same_serial(wanted, serial):
            raise self._wrong("serial", serial, f"the plant's description says {wanted!r}")
        return DeviceIdentity(serial, told.get("model"), told.get("firmware"))

    def _wrong(self, what: str, value: str | None, expected: str) -> WrongDevice:
        says = f"says no {what}" if value is None else f"says it is {what} {value!r}"
        return WrongDevice(
            f"meter {self._meter.key}: the device at unit {self._meter.unit_id} {says}, {expected}; "
            "check wiring, unit id or the plant's description"
        )

    async def _refresh(self, now: float, line: Line) -> None:
        for each in self._settings:
            if each.due <= now:
                parameter = each.parameter
                name, length = f"parameter {parameter.name}", parameter.type.registers
                payload = await self._reader.read(line, name, parameter.table, parameter.address, length, needed=False)
                self._take(each, None if payload is None else decode_parameter(parameter, payload, self._map), now)
        self._refresh_at = min((each.due for each in self._settings), default=math.inf)

    def _take(self, setting: _Setting, value: float | None, now: float) -> None:
        name, interval_s = setting.parameter.name, setting.parameter.interval_s
        setting.due = now + (interval_s if value is not None else min(interval_s, ASK_AGAIN_S))
        if value is not None:
            if setting.value is not None and setting.value != value:
                log.warning("parameter_changed", meter=self._meter.key, name=name, was=setting.value, now=value)
            setting.value, setting.known_until = value, now + KEPT_INTERVALS * interval_s
        elif setting.value is not None and now >= setting.known_until:
            log.warning("parameter_unknown", meter=self._meter.key, name=name, was=setting.value)
            setting.value = None


def _same_serial(wanted: str, told: str) -> bool:
    """Whether two serial numbers are the same; capitals and leading zeros do not count."""
    return wanted.strip().casefold().lstrip("0") == told.strip().casefold().lstrip("0")
