"""FaultBook: the faults of a running simulator, added, removed and told while it serves.

Faults of the wire and of messages are put in force at their edges, so that a frame asks nothing about time; faults of
values are functions of time and need no edges at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import structlog

from emsd.errors import ConfigurationError
from emsd.plant.connections import Connection
from emsd.plant.models import Meter, Plant
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.sparkplug_connection import SparkplugConnection
from simulator.bank import Bank
from simulator.broker_relay import BrokerRelay
from simulator.clock import seconds_until
from simulator.faces import Faces
from simulator.fault_kinds import Carrier, Layer
from simulator.fault_record import FaultRecord, record_of
from simulator.faults import DeviceFault
from simulator.live_fault import LiveFault
from simulator.manners import Habits, Manners
from simulator.message_faults import MessageFaults
from simulator.modbus_endpoint import ModbusEndpoint
from simulator.noise import uniform_of
from simulator.personality import Personality
from simulator.truth import SimulatedPlant

__all__ = ["FaultBook"]

_log = structlog.get_logger(__name__)


class FaultBook:
    """What is wrong with the devices of a simulator, and what was."""

    def __init__(
        self,
        physics: SimulatedPlant,
        faces: Faces,
        endpoints: Mapping[str, ModbusEndpoint],
        messages: Mapping[str, MessageFaults],
        relays: Mapping[str, BrokerRelay],
        personalities: Mapping[str, Personality],
        *,
        now_us: Callable[[], int],
    ) -> None:
        """Prepare an empty book.

        messages  what each meter that publishes does with its messages
        relays    what stands in front of the broker of a connection
        """
        self._physics = physics
        self._plant: Plant = physics.plant
        self._faces = faces
        self._endpoints = endpoints
        self._messages = messages
        self._relays = relays
        self._now_us = now_us
        self._faults: dict[int, LiveFault] = {}
        self._next = 1
        self._changed: asyncio.Event | None = None
        self._connections: dict[str, Connection] = {each.key: each for each in self._plant.connections}
        self._habits = {key: self._habits_of(key, personalities) for key in endpoints}
        self._most_clients = {key: self._clients_of(key, personalities) for key in endpoints}
        self._banks: dict[int, Bank] = {
            id(unit.bank): unit.bank
            for endpoint in endpoints.values()
            for unit in endpoint.units.values()
            if isinstance(unit.bank, Bank)
        }
        self._apply_values()

    def add(self, fault: DeviceFault) -> int:
        """Take a fault in, and put it in force if its time has come; return its number.

        Raises:
            ConfigurationError: its target is not of this plant, or cannot have such a fault.
        """
        return self.add_all([fault])[0]

    def add_all(self, faults: Iterable[DeviceFault]) -> Sequence[int]:
        """Take many faults in, as `add` does one: all of them, or none.

        Raises:
            ConfigurationError: as `add`.
        """
        fresh = {
            number: LiveFault(number, fault, meters=frozenset(each.key for each in self._concerned(fault)))
            for number, fault in enumerate(faults, self._next)
        }
        before = self._faults
        self._faults = {**before, **fresh}
        try:
            self._apply_values()
        except ConfigurationError:
            self._faults = before
            raise
        self._next += len(fresh)
        self._news()
        for live in fresh.values():
            _log.info("simulated_fault_added", number=live.number, kind=live.fault.kind, target=live.fault.target)
        return tuple(fresh)

    def remove(self, number: int) -> None:
        """End a fault now; one that is still to come never happens and is forgotten.

        Raises:
            ConfigurationError: there is none of that number, or it is a step that has happened.
        """
        live = self._faults.get(number)
        if live is None:
            known = f"; there are {', '.join(map(str, self._faults))}" if self._faults else ", nor any other"
            raise ConfigurationError(f"there is no fault {number}{known}")
        now_us = self._now_us()
        if now_us <= live.fault.from_us:
            del self._faults[number]
        elif live.fault.of_kind.is_step:
            raise ConfigurationError(
                f"fault {number}, {live.fault.kind}, has happened and cannot be undone; begin with a fresh simulator"
            )
        elif live.fault.until_us is None or now_us < live.fault.until_us:
            live.fault = replace(live.fault, until_us=now_us)
        self._apply_values()
        self._news()
        _log.info("simulated_fault_removed", number=number, kind=live.fault.kind, target=live.fault.target)

    def clear(self) -> Sequence[int]:
        """End every fault that is not over and can end, and return their numbers."""
        now_us = self._now_us()
        open_ended = [
            number
            for number, live in self._faults.items()
            if now_us <= live.fault.from_us
            or (not live.fault.of_kind.is_step and (live.fault.until_us is None or now_us < live.fault.until_us))
        ]
        for number in open_ended:
            self.remove(number)
        return open_ended

    @property
    def in_force(self) -> int:
        """How many faults are in force now."""
        now_us = self._now_us()
        return sum(live.fault.in_force(now_us) for live in self._faults.values())

    def list(self, from_us: int | None = None, to_us: int | None = None) -> tuple[FaultRecord, ...]:
        """Return the record of every fault so far, or of those in force in [from_us, to_us), by number."""
        now_us = self._now_us()
        return tuple(
            record_of(live, self._physics, self._faces.worn, now_us, (from_us, to_us))
            for live in self._faults.values()
            if (to_us is None or live.fault.from_us < to_us)
            and (from_us is None or live.fault.until_us is None or live.fault.until_us > from_us)
        )

    def refresh(self) -> None:
        """Put in force what is in force now; `run` does it at every edge."""
        now_us = self._now_us()
        in_force = [each for each in self._faults.values() if each.fault.in_force(now_us)]
        wire = [each for each in in_force if each.fault.of_kind.layer is Layer.WIRE]
        for key, endpoint in self._endpoints.items():
            self._apply_wire(key, endpoint, [each for each in wire if self._reaches(each, key)])
        for key, relay in self._relays.items():
            relay.behave([each for each in wire if self._reaches(each, key)])
        said = [each for each in in_force if each.fault.of_kind.layer is Layer.MESSAGE]
        for key, messages in self._messages.items():
            messages.faults = [each for each in said if key in each.meters]

    async def run(self) -> None:
        """Put faults in force and out of it when their time comes, until cancelled."""
        changed = self._changed = asyncio.Event()
        while True:
            self.refresh()
            changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._until_next_edge_s()):
                    await changed.wait()

    def _news(self) -> None:
        self.refresh()
        if self._changed is not None:
            self._changed.set()

    def _until_next_edge_s(self) -> float | None:
        now_us = self._now_us()
        edges = [
            edge
            for live in self._faults.values()
            for edge in (live.fault.from_us, live.fault.until_us)
            if edge is not None and edge > now_us
        ]
        return seconds_until(self._now_us, min(edges)) if edges else None

    def _apply_values(self) -> None:
        self._faces.put_on((live.fault, live.meters) for live in self._faults.values())
        for bank in self._banks.values():
            bank.wear(self._faces.worn)

    def _apply_wire(self, key: str, endpoint: ModbusEndpoint, faults: Sequence[LiveFault]) -> None:
        units = {unit_id: unit.meter_key for unit_id, unit in endpoint.units.items()}
        if not faults and endpoint.manners is None and not self._habits[key] and self._most_clients[key] is None:
            return
        endpoint.behave(Manners.of(faults, units, habits=self._habits[key], max_clients=self._most_clients[key]))

    def _reaches(self, live: LiveFault, connection: str) -> bool:
        """Whether a fault concerns a connection or a meter of it."""
        meter = live.fault.meter
        own = live.fault.connection if meter is None else self._physics.meters[meter].connection
        return own == connection

    def _concerned(self, fault: DeviceFault) -> Sequence[Meter]:
        """Return the meters that a fault happens to."""
        if fault.meter is not None and fault.meter not in self._physics.meters:
            raise ConfigurationError(f"fault {fault.kind}: the plant has no meter {fault.meter}; correct the key")
        if fault.connection is not None and fault.connection not in self._connections:
            known = ", ".join(self._connections)
            raise ConfigurationError(
                f"fault {fault.kind}: the plant has no connection {fault.connection}; it has {known}"
            )
        meters = [each for each in self._plant.meters if fault.target == _target_key(fault, each)]
        if not meters and not fault.of_kind.of_connection:
            raise ConfigurationError(f"fault {fault.kind}: connection {fault.connection} has no meters; choose another")
        connection = self._connections[meters[0].connection if meters else fault.target]
        self._check_layer(fault, connection)
        return meters

    def _check_layer(self, fault: DeviceFault, connection: Connection) -> None:
        kind, key = fault.of_kind, connection.key
        if kind.layer is Layer.MESSAGE and not isinstance(connection, MqttConnection | SparkplugConnection):
            raise ConfigurationError(
                f"fault {fault.kind} is of MQTT messages, and connection {key} has none; choose another target"
            )
        if kind.layer is not Layer.WIRE:
            return
        if key in self._endpoints:
            carrier = self._endpoints[key].carrier
        elif key in self._relays or Carrier.BROKER not in kind.carriers:
            carrier = Carrier.BROKER
        else:
            raise ConfigurationError(
                f"fault {fault.kind} of connection {key} needs the simulator in front of its broker; "
                "start it with --broker and the address of the real one"
            )
        if carrier not in kind.carriers:
            raise ConfigurationError(
                f"fault {fault.kind} cannot happen to connection {key}, which is of kind {connection.kind}; "
                "choose another target"
            )
        if carrier is Carrier.BROKER and fault.meter is not None:
            raise ConfigurationError(
                f"fault {fault.kind} happens to everything that goes through a broker; "
                f"give the connection {key}, not a meter"
            )

    def _habits_of(self, connection: str, personalities: Mapping[str, Personality]) -> dict[int, Habits]:
        habits: dict[int, Habits] = {}
        for unit_id, unit in self._endpoints[connection].units.items():
            own = personalities.get(unit.meter_key)
            if own is not None and own.changes_answers:
                habits[unit_id] = Habits(own, int(uniform_of(self._physics.seed, "pauses", unit.meter_key) * 2**32))
        return habits

    def _clients_of(self, connection: str, personalities: Mapping[str, Personality]) -> int | None:
        units: Iterable[str] = (unit.meter_key for unit in self._endpoints[connection].units.values())
        most = [own.max_clients for key in units if (own := personalities.get(key)) and own.max_clients is not None]
        return min(most, default=None)


def _target_key(fault: DeviceFault, meter: Meter) -> str:
    return meter.key if fault.meter is not None else meter.connection
