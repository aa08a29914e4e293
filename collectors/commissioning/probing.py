"""Read a device once, in every way in which it may be meant, and rank what came out.

Only read requests are sent, functions 3 and 4.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from collectors.commissioning.evidence import Verdict, verdict_on
from collectors.commissioning.variants import ORDERS, Order, shifted
from collectors.modbus.client import ModbusClient
from collectors.modbus.codec import BlockDecoder
from collectors.modbus.device import decode_identity, decode_parameter
from collectors.modbus.plan import Block
from collectors.modbus.reads import Reads, Request
from collectors.modbus.sunspec import walk_models
from emsd.errors import CollectError, DeviceException, Mismatch, NoReply, Unreachable
from emsd.plant.modbus_connections import ModbusConnection
from emsd.plant.modbus_map import ModbusMap, Table
from emsd.plant.profile import Profile

__all__ = ["Answer", "Candidate", "Device", "Guess", "guess_profiles", "open_device", "probe"]

SHIFTS: Final = (0, -1, 1)
_GATEWAY: Final = frozenset({10, 11})
_MOST_SILENCE: Final = 2


@dataclass(slots=True)
class Device:
    """One unit behind a connection, asked once for each range of registers; what it said is kept.

    Raises of `read`: CollectError, the same one again for a range that has failed before.
    """

    connection: ModbusConnection
    unit: int
    timeout_s: float
    pause_s: float = 0.0
    requests: int = 0
    _client: ModbusClient | None = None
    _heard: dict[tuple[Table, int, int], bytes | CollectError] = field(default_factory=dict)

    async def read(self, table: Table, address: int, count: int) -> bytes:
        """Return `count` registers, two bytes each."""
        known = self._heard.get((table, address, count))
        if known is None:
            known = await self._ask(table, address, count)
            self._heard[table, address, count] = known
        if isinstance(known, CollectError):
            raise known
        return known

    @property
    def silent(self) -> bool:
        """Whether it has let several requests go unanswered and answered none."""
        failures = [each for each in self._heard.values() if isinstance(each, NoReply | Mismatch | Unreachable)]
        return len(failures) >= _MOST_SILENCE and len(failures) == len(self._heard)

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _ask(self, table: Table, address: int, count: int) -> bytes | CollectError:
        try:
            if self._client is None:
                self._client = await ModbusClient.open(self.connection, pause_s=self.pause_s)
            self.requests += 1
            return await self._client.read(self.unit, table, address, count, timeout_s=self.timeout_s)
        except DeviceException as error:
            return error
        except CollectError as error:
            if self._client is not None and not self._client.usable:
                self.close()
            return error


@dataclass(frozen=True, slots=True)
class Answer:
    """One range of registers as it came."""

    block: Block
    payload: bytes


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to understand the device, with what it gives; `as_written` is the way of the profile."""

    unit: int
    shift: int
    order: Order
    as_written: bool
    values: Mapping[str, float | None]
    verdict: Verdict
    answers: tuple[Answer, ...]
    refused: tuple[str, ...]
    """Quantities that the device did not answer for."""


@dataclass(frozen=True, slots=True)
class Guess:
    """A profile that may be the device's."""

    profile: str
    verdict: Verdict
    answered: int
    wanted: int
    identity: Mapping[str, str]


def open_device(
    connection: ModbusConnection, unit: int, timeout_s: float | None, registers: ModbusMap | None = None
) -> Device:
    """Return a device that has not been asked anything yet; nothing is opened before the first read.

    Args:
        connection: where it is.
        unit: its unit id.
        timeout_s: longest wait for an answer [s]; None takes that of connection and profile.
        registers: map of its profile, for the times that it needs.
    """
    own_s = (registers.timeout_s or 0.0) if registers is not None else 0.0
    pause_s = registers.pause_between_requests_s if registers is not None else 0.0
    if registers is not None and registers.pause_after_connect_s > connection.pause_after_connect_s:
        connection = connection.model_copy(update={"pause_after_connect_s": registers.pause_after_connect_s})
    return Device(connection, unit, timeout_s or max(connection.timeout_s, own_s), pause_s)


async def probe(
    devices: Sequence[Device], registers: ModbusMap, *, say: Callable[[str], None] = lambda _text: None
) -> list[Candidate]:
    """Read devices (the same one under several unit ids) by a map, its neighbours in base and all four orders.

    Returns every way that gave something, the likeliest first; of ways that give the same values one is kept, that of
    the profile before others.

    Args:
        devices: what to ask.
        registers: map of the profile.
        say: is told what is being tried.

    Raises:
        ValueError: the map cannot be read as it is written.
    """
    found: list[Candidate] = []
    for device in devices:
        for shift in SHIFTS:
            moved = shifted(registers, shift)
            if moved is None or device.silent:
                continue
            say(f"unit {device.unit}, addresses {'as written' if shift == 0 else f'{shift:+d}'}")
            found += await _candidates(device, moved, shift, registers)
    found.sort(key=lambda each: (-round(each.verdict.score, 3), not each.as_written, abs(each.shift)))
    return found


async def guess_profiles(
    device: Device, profiles: Mapping[str, Profile], *, say: Callable[[str], None] = lambda _text: None
) -> list[Guess]:
    """Read a device by every Modbus profile and return those that give something, the likeliest first."""
    guesses: list[Guess] = []
    for name, profile in profiles.items():
        if profile.modbus is None or device.silent:
            continue
        say(name)
        own = next(order for order in ORDERS if order.is_that_of(profile.modbus))
        try:
            reads, answers, refused = await _read(device, profile.modbus)
            identity = await _identity(device, profile.modbus, reads)
        except (CollectError, ValueError):
            continue
        if not answers or identity is None:
            continue
        values = _decoded(answers, own.of(profile.modbus), await _parameters(device, profile.modbus))
        values |= dict.fromkeys(refused)
        if any(values.values()):
            wanted = len(profile.modbus.delivered)
            guesses.append(Guess(name, verdict_on(values), wanted - len(refused), wanted, identity))
    guesses.sort(key=lambda each: (-(each.verdict.score + (0.2 if each.identity else 0.0)), each.profile))
    return guesses


async def _candidates(device: Device, moved: ModbusMap, shift: int, written: ModbusMap) -> list[Candidate]:
    _, answers, refused = await _read(device, moved)
    if not answers:
        return []
    parameters = await _parameters(device, moved)
    found: dict[tuple[float | None, ...], Candidate] = {}
    for order in sorted(ORDERS, key=lambda each: not each.is_that_of(written)):
        values = _decoded(answers, order.of(moved), parameters) | dict.fromkeys(refused)
        as_written = shift == 0 and order.is_that_of(written)
        candidate = Candidate(device.unit, shift, order, as_written, values, verdict_on(values), answers, refused)
        found.setdefault(tuple(values[name] for name in sorted(values)), candidate)
    return list(found.values())


async def _read(device: Device, registers: ModbusMap) -> tuple[Reads, tuple[Answer, ...], tuple[str, ...]]:
    """Ask for everything that a map wants; return the plan, the answers, and the quantities that got none."""
    reads = Reads(registers, 1.0, None)
    if reads.walks:
        models = await walk_models(
            lambda address, count: device.read(Table.HOLDING, address, count), registers.sunspec_bases
        )
        reads.place(models)
    answers: list[Answer] = []
    refused: list[str] = []
    waiting: list[Request] = list(reads.requests(reads.rates_s))
    while waiting:
        request = waiting.pop(0)
        block = request.block
        try:
            payload = await device.read(block.table, block.address, block.count)
        except DeviceException as error:
            halves = reads.halves(request) if error.code not in _GATEWAY else []
            waiting[:0] = halves
            if not halves:
                refused += request.names
        except CollectError:
            refused += request.names
            if device.silent:
                break
        else:
            answers.append(Answer(block, payload))
    return reads, tuple(answers), (*refused, *(name for request in waiting for name in request.names))


def _decoded(
    answers: Sequence[Answer], registers: ModbusMap, parameters: Mapping[str, float]
) -> dict[str, float | None]:
    return dict(_values(answers, registers, parameters))


def _values(
    answers: Sequence[Answer], registers: ModbusMap, parameters: Mapping[str, float]
) -> Iterator[tuple[str, float | None]]:
    for answer in answers:
        decoder = BlockDecoder(answer.block, registers, None, parameters)
        values, _, _ = decoder.decode(answer.payload)
        yield from zip(decoder.names, values, strict=True)


async def _parameters(device: Device, registers: ModbusMap) -> dict[str, float]:
    found: dict[str, float] = {}
    for parameter in registers.parameters:
        try:
            payload = await device.read(parameter.table, parameter.address, parameter.type.registers)
        except CollectError:
            continue
        value = decode_parameter(parameter, payload, registers)
        if value is not None:
            found[parameter.name] = value
    return found


async def _identity(device: Device, registers: ModbusMap, reads: Reads) -> dict[str, str] | None:
    """Return what the device says of itself; None when the profile expects something else."""
    told: dict[str, str] = {}
    for register in reads.identity:
        try:
            payload = await device.read(register.table, register.address, register.length)
        except CollectError:
            continue
        value = decode_identity(register, payload, registers)
        if register.expect is not None and (value is None or re.fullmatch(register.expect, value) is None):
            return None
        if value is not None:
            told.setdefault(register.what, value)
    return told
