"""The protocol between a collector and the rest of emsd; all that a third-party collector has to know.

A collector serves one connection (a Modbus endpoint, an MQTT broker) and all meters on it. It is found by the kind of
its connection in the entry point group `emsd.collectors`; the entry point names a `CollectorFactory`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from emsd.errors import NotDurable
from emsd.plant.connections import Connection
from emsd.plant.models import Meter
from emsd.plant.profile import Profile
from emsd.readings import Reading

__all__ = [
    "BoundMeter",
    "Collector",
    "CollectorFactory",
    "DeviceIdentity",
    "EndpointHealth",
    "MeterHealth",
    "MeterState",
    "PlanEfficiency",
    "Poison",
    "ReportsEndpoint",
    "ReportsPlan",
    "Sink",
    "honour_cancellation",
    "wall_clock_us",
]


@dataclass(frozen=True, slots=True)
class BoundMeter:
    """A meter of the plant together with its number in the database and the profile of its device."""

    meter_id: int
    meter: Meter
    profile: Profile
    may_rest: Callable[[int], bool] | None = None
    """Whether its device is expected to be silent at an instant [us since the epoch]: a PV inverter by night. None:
    never."""


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What a device says of itself; None is what it does not tell."""

    serial: str | None = None
    model: str | None = None
    firmware: str | None = None


@dataclass(frozen=True, slots=True)
class Poison:
    """A message or row that can never become a reading; kept with its reason instead of being dropped."""

    source: str
    """Where it came from: `mqtt://broker/topic`, `modbus://host:port/unit`."""
    payload: bytes
    reason: str
    received_us: int
    meter_id: int | None = None
    connection: str | None = None
    """Key of the connection that it came over."""
    topic: str | None = None
    qos: int | None = None
    retained: bool = False
    payload_bytes: int | None = None
    """Length of the whole message, of which `payload` may be the beginning; None: it is all there."""


class Sink(Protocol):
    """A reading's way in, as a collector sees it."""

    def offer(self, reading: Reading) -> None:
        """Hand over a polled reading without waiting.

        Memory is bounded: when the pipeline is full, the oldest polled readings make room, and their loss is
        counted by meter and time range.
        """

    async def store(self, reading: Reading) -> None:
        """Hand over a reading and return when it is durable (committed); waits while the pipeline is full.

        Raises:
            NotDurable: it could not be made durable; do not acknowledge its message.
        """

    def deliver(self, reading: Reading, done: Callable[[NotDurable | None], None]) -> None:
        """Hand over a reading without waiting; `done` is called once, when its fate is known.

        It is called with None when the reading is durable (committed, or synced in the spool), else with why not: do
        not acknowledge its message then. It must be quick and must not raise. Who delivers bounds how many are under
        way: these are never given up for others.
        """

    def identified(self, meter_id: int, identity: DeviceIdentity, seen_us: int) -> None:
        """Take note of what the device behind a meter says of itself, after each connect; never waits."""

    async def quarantine(self, poison: Poison) -> None:
        """Keep a poison message with its reason and return when it is durable.

        Raises:
            NotDurable: it could not be kept; do not acknowledge its message.
        """


class MeterState(StrEnum):
    """What a collector thinks of a meter now."""

    STARTING = "starting"
    OK = "ok"
    DEGRADED = "degraded"
    """Answers, but some of its blocks or values fail."""
    DOWN = "down"
    """Does not answer; probed again with capped backoff."""
    FROZEN = "frozen"
    """Answers, but with the same values for too long while its load is on: a gateway repeats a dead device's last."""
    WRONG = "wrong"
    """Another device answers than the plant's description or the profile says; its values are not taken."""
    RESTING = "resting"
    """Does not answer, and need not: an inverter by night."""


@dataclass(slots=True)
class MeterHealth:
    """Running totals of one meter since the collector started; only the collector writes them.

    `polls_expected` counts the ticks that were due, and equals `polls_ok + polls_partial + polls_failed +
    polls_skipped` once the tick in hand is over. For a meter that publishes by itself (MQTT) each message counts as
    one expected poll.
    """

    meter_id: int
    polls_expected: int = 0
    polls_ok: int = 0
    polls_partial: int = 0
    polls_failed: int = 0
    polls_skipped: int = 0
    """Ticks that came while the meter was backing off or its connection was still busy; never queued."""
    requests: int = 0
    values_rejected: int = 0
    """Values that became NULL: sentinel, NaN or implausible."""
    errors: Counter[str] = field(default_factory=Counter)
    """Failures by kind, such as `no_reply`, `unreachable`, `exception_2`, `mismatch`, `bad_payload`, `wrong_device`."""
    state: MeterState = MeterState.STARTING
    last_error: str | None = None
    last_ok_us: int | None = None
    round_trip_s: float | None = None
    """Duration of the last successful poll [s]."""


@runtime_checkable
class Collector(Protocol):
    """Serves one connection until it is cancelled."""

    name: str
    """Unique in the process: the key of its connection."""

    async def run(self) -> None:
        """Collect until cancelled; an exception that leaves it means: restart me with backoff."""

    def health(self) -> Sequence[MeterHealth]:
        """Return the running totals of every meter of this connection; cheap, called every few seconds."""

    def connected(self) -> bool:
        """Whether the endpoint can be reached now."""


@dataclass(frozen=True, slots=True)
class PlanEfficiency:
    """What one poll of everything costs, against what it wants; registers are those of 16 bits."""

    requests: int = 0
    registers_wanted: int = 0
    registers_read: int = 0

    @property
    def share(self) -> float | None:
        """Registers wanted of those that are read [0..1]; None when nothing is read."""
        return self.registers_wanted / self.registers_read if self.registers_read else None

    def __add__(self, other: PlanEfficiency) -> PlanEfficiency:
        """Return the cost of both."""
        return PlanEfficiency(
            self.requests + other.requests,
            self.registers_wanted + other.registers_wanted,
            self.registers_read + other.registers_read,
        )


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """What a connection went through since its collector started."""

    connection: str
    """Its key."""
    kind: str
    address: str
    """host:port, or the path of a serial port."""
    connected: bool
    connects: int
    """How often it was opened."""
    failures: int
    """How often it could not be opened, was lost, or did not give a usable answer to a request."""
    requests: int
    busy_s: float
    """Time in which somebody was served [s]."""
    busy_share: float
    """Share of the last seconds in which somebody was served [0..1]; near 1, meters have to wait for each other."""
    last_error: str | None = None


@runtime_checkable
class ReportsEndpoint(Protocol):
    """A collector that can say how its connection fares, apart from its meters."""

    name: str

    def endpoint_health(self) -> EndpointHealth:
        """Return the running totals of the connection; cheap, called every few seconds."""


@runtime_checkable
class ReportsPlan(Protocol):
    """A collector that plans its reads, and can say how well."""

    name: str

    def plan_efficiency(self) -> PlanEfficiency:
        """Return the cost of one poll of every meter of this connection."""


class CollectorFactory(Protocol):
    """What the entry point of a connection kind names."""

    def __call__(
        self,
        connection: Connection,
        meters: Sequence[BoundMeter],
        sink: Sink,
        *,
        now_us: Callable[[], int] = ...,
    ) -> Collector:
        """Build a collector; it must not touch the network before `run`.

        `now_us` is the wall clock in microseconds since the epoch.

        Raises:
            PlantError: a meter cannot be served over this connection.
        """


def honour_cancellation() -> None:
    """Raise the cancellation that a library has swallowed; call it after awaiting one that uses asyncio.wait_for.

    In Python 3.11 wait_for returns a result, or raises an error, that became ready in the same step in which the task
    was cancelled, and the cancellation is forgotten (CPython gh-86296, mended in 3.12). A collector that goes on then
    keeps the whole service from stopping.

    Raises:
        asyncio.CancelledError: the running task was asked to stop.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def wall_clock_us() -> int:
    """Return the wall clock in microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000
