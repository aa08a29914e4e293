"""Simulator: every connection of a plant served, every MQTT meter publishing, and the truth at hand."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from emsd.errors import ConfigurationError
from emsd.plant.connections import Connection
from emsd.plant.models import Meter, Plant
from emsd.plant.mqtt_connection import BrokerConnection, MqttConnection
from emsd.plant.profile import Profile
from emsd.plant.sparkplug_connection import SparkplugConnection
from emsd.readings import to_datetime
from simulator.bank import SHARED_FROM_UNITS, Bank, Unit
from simulator.broker import encryption_of
from simulator.broker_relay import BrokerRelay
from simulator.certificates import CertificateFolder
from simulator.clock import wall_clock_us
from simulator.endpoints import Place, as_modbus, as_served, carrier_of
from simulator.faces import Faces
from simulator.fault_book import FaultBook
from simulator.fault_schedule import Schedule, planned
from simulator.hosts import check_loopback
from simulator.layout import Layout
from simulator.modbus_server import ModbusEndpoint
from simulator.mqtt_publisher import MqttPublisher
from simulator.personality import personalities_of
from simulator.physics.scenarios import Scenario
from simulator.scenario_truth import ScenarioTruth
from simulator.sparkplug_publisher import SparkplugPublisher
from simulator.sunspec_profile import USUAL_MODELS, with_points
from simulator.truth import Disturbance, SimulatedPlant, month_start

__all__ = ["REFRESH_S", "Simulator"]

_log = structlog.get_logger(__name__)

REFRESH_S: Final = 0.2
"""How old a register may be when it is read [s]; real meters renew theirs every 0.1 to 1 s."""


class Simulator:
    """A running stand-in for a plant's meters; reusable, not reentrant.

    async with Simulator(plant, profiles, seed=1) as sim:
        sim.ports["substation"]                                   where each Modbus connection listens
        sim.truth.true_energy_kwh("incomer", from_us, to_us)      what the service should have measured
        sim.faults.add(DeviceFault("no_reply", from_us, meter="incomer"))   what goes wrong, and what that changed
    """

    def __init__(
        self,
        plant: Plant,
        profiles: Mapping[str, Profile],
        *,
        seed: int = 1,
        anchor: datetime | None = None,
        disturbances: Sequence[Disturbance] = (),
        scenarios: Sequence[Scenario] = (),
        free_ports: bool = False,
        bind_host: str | None = None,
        allow_remote: bool = False,
        certificates: Path | None = None,
        silent_for_unknown_units: bool = False,
        sunspec_models: Mapping[str, Sequence[int]] | None = None,
        refresh_s: float = REFRESH_S,
        publish_when: asyncio.Event | None = None,
        schedule: Schedule | None = None,
        broker: tuple[str, int] | None = None,
        now_us: Callable[[], int] = wall_clock_us,
    ) -> None:
        """Prepare a simulator; nothing listens before `async with`.

        anchor        counters begin at the UTC midnight before it; absent: the first of this month
        scenarios     what changes in the plant, or goes wrong with it; see simulator.scenario_file
        free_ports    let every Modbus connection take a free port, or path, instead of its own; see `served_plant`
        bind_host     listen here instead of on the host of each connection
        allow_remote  listen on addresses that other machines reach, too
        certificates  folder with the certificates of TLS devices (see simulator.certificates), which keeps those that
                      are made for trials; absent: they are made for this run
        sunspec_models  models of the devices of a SunSpec profile, by its name and in the order of their chain
        refresh_s     oldest register value that is answered [s]
        schedule      faults, by the time since the first start, and personalities of the devices
        broker        host and port of the broker that is really there: the simulator then listens where the plant has
                      its brokers, and passes on what comes, so that a broker can be away, slow or cut off
        publish_when  MQTT devices are silent until it is set; a broker keeps no message for who has not yet subscribed

        Raises:
            ConfigurationError: the plant cannot be simulated, or would listen for other machines.
        """
        self.plant = plant
        of_profile = sunspec_models or {}
        served = {name: with_points(each, of_profile.get(name, USUAL_MODELS)) for name, each in profiles.items()}
        self.truth = SimulatedPlant(
            plant,
            served,
            seed,
            anchor=anchor or month_start(to_datetime(now_us())),
            disturbances=disturbances,
            scenarios=scenarios,
        )
        self.scenarios = ScenarioTruth(self.truth.apart())
        personalities = personalities_of(schedule.personalities if schedule else (), plant, profiles)
        self._faces = Faces(self.truth, personalities)
        self._schedule = schedule
        self.endpoints: dict[str, ModbusEndpoint] = {}
        self.publishers: dict[str, MqttPublisher | SparkplugPublisher] = {}
        self._broker = broker
        self._bind_host, self._free_ports, self._allow_remote = bind_host, free_ports, allow_remote
        self._relays: dict[str, BrokerRelay] = {}
        self._places: list[Place] = []
        self._certificates = CertificateFolder(certificates or Path())  # a folder of this run takes its place
        self._keep_certificates = certificates is not None
        self._now_us = now_us
        self._refresh_s = refresh_s
        self._publish_when = publish_when
        self._stack: AsyncExitStack | None = None
        self._tasks: list[asyncio.Task[None]] = []
        meters = _by_connection(plant.meters)
        modbus = [each for each in map(as_modbus, plant.connections) if each is not None]
        units = self._units({each.key: meters[each.key] for each in modbus})
        for connection in modbus:
            # The devices of a bus hear what is meant for others, and nobody speaks for one that is not there.
            silent = silent_for_unknown_units or connection.has_bus
            endpoint = ModbusEndpoint(connection.key, units[connection.key], silent, carrier=carrier_of(connection))
            self.endpoints[connection.key] = endpoint
            self._places.append(
                Place.of(connection, endpoint, bind_host=bind_host, free_ports=free_ports, allow_remote=allow_remote)
            )
        for other in plant.connections:
            if other.key not in self.endpoints:
                self._add_publisher(other, meters[other.key])
        messages = {key: device.faults for each in self.publishers.values() for key, device in each.devices.items()}
        self.faults = FaultBook(
            self.truth, self._faces, self.endpoints, messages, self._relays, personalities, now_us=now_us
        )

    def _add_publisher(self, connection: Connection, meters: Sequence[Meter]) -> None:
        client_id = f"simulator-{self.plant.site.number}-{connection.key}"
        if isinstance(connection, BrokerConnection):
            encryption_of(connection)  # what cannot be used is said before anything runs
            if self._broker is not None:
                host = self._bind_host or connection.host
                if not self._allow_remote:
                    check_loopback(connection.key, host)
                port = 0 if self._free_ports else connection.port
                self._relays[connection.key] = BrokerRelay(connection.key, host, port, self._broker)
        if isinstance(connection, MqttConnection):
            self.publishers[connection.key] = MqttPublisher(
                connection, meters, self._faces, client_id=client_id, now_us=self._now_us
            )
        elif isinstance(connection, SparkplugConnection):
            self.publishers[connection.key] = SparkplugPublisher(
                connection, meters, self._faces, client_id=client_id, now_us=self._now_us
            )
        elif meters:
            raise ConfigurationError(
                f"connection {connection.key} is of kind {connection.kind}, which the simulator does not speak; "
                "leave its meters out of the plant to simulate"
            )

    @property
    def ports(self) -> dict[str, int]:
        """Where each Modbus connection of a network listens now."""
        return {key: endpoint.port for key, endpoint in self.endpoints.items() if endpoint.port}

    @property
    def addresses(self) -> dict[str, str]:
        """Where each Modbus connection is reached now: host:port, or the path of a serial port."""
        return {key: endpoint.address for key, endpoint in self.endpoints.items()}

    @property
    def served_plant(self) -> Plant:
        """The plant with the ports, paths and certificates that are really served, for a client of this simulator."""
        connections = tuple(
            as_served(connection, self.endpoints[connection.key], self._certificates)
            if connection.key in self.endpoints
            else connection.model_copy(update={"port": self._relays[connection.key].port})
            if connection.key in self._relays
            else connection
            for connection in self.plant.connections
        )
        return self.plant.model_copy(update={"connections": connections})

    @property
    def requests(self) -> dict[str, int]:
        """Requests answered so far, by meter."""
        return {unit.meter_key: unit.requests for end in self.endpoints.values() for unit in end.units.values()}

    @property
    def published(self) -> dict[str, int]:
        """Messages acknowledged by the broker so far, by meter."""
        return {key: device.published for each in self.publishers.values() for key, device in each.devices.items()}

    @property
    def lost(self) -> dict[str, int]:
        """Messages that no broker took, by meter."""
        return {key: device.lost for each in self.publishers.values() for key, device in each.devices.items()}

    def now_us(self) -> int:
        """Return what the clock of the plant says [us since 1970]."""
        return self._now_us()

    async def __aenter__(self) -> Self:
        """Open every endpoint and start publishing.

        Raises:
            ServerError: an address cannot be listened on; nothing stays open.
            ConfigurationError: the schedule has a fault that this plant cannot have.
        """
        if self._stack is not None:
            raise RuntimeError("this simulator is running already")
        self.truth.prepare(self._now_us())
        schedule, self._schedule = self._schedule, None
        self.faults.add_all(planned(schedule, self.truth, self._now_us(), self._relays) if schedule else ())
        async with AsyncExitStack() as stack:
            if not self._keep_certificates:
                made = stack.enter_context(tempfile.TemporaryDirectory(prefix="emsd-simulator-"))
                self._certificates = CertificateFolder(Path(made))
            for place in self._places:
                await place.open(stack, self._certificates)
            for key, relay in self._relays.items():
                await stack.enter_async_context(relay.serve())
                self.publishers[key].port = relay.port
            group = await stack.enter_async_context(asyncio.TaskGroup())
            self._tasks = [
                group.create_task(self._publish(publisher), name=f"simulated-publisher-{key}")
                for key, publisher in self.publishers.items()
                if publisher.devices
            ]
            self._tasks.append(group.create_task(self.faults.run(), name="simulated-faults"))
            self._stack = stack.pop_all()
        _log.info("simulator_started", endpoints=len(self.endpoints), meters=len(self.plant.meters))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop publishing and close every endpoint."""
        stack, self._stack = self._stack, None
        for task in self._tasks:
            task.cancel()
        self._tasks = []
        if stack is not None:
            await stack.__aexit__(kind, error, trace)

    async def _publish(self, publisher: MqttPublisher | SparkplugPublisher) -> None:
        if self._publish_when is not None:
            await self._publish_when.wait()
        await publisher.run()

    def _units(self, meters: Mapping[str, Sequence[Meter]]) -> dict[str, dict[int, Unit]]:
        """Put the meters of each endpoint into banks by layout; large groups share one over all endpoints."""
        layouts: dict[tuple[object, ...], Layout] = {}
        shared: defaultdict[tuple[object, ...], list[Meter]] = defaultdict(list)
        groups: list[tuple[Layout, list[Meter]]] = []
        for of_connection in meters.values():
            members: defaultdict[tuple[object, ...], list[Meter]] = defaultdict(list)
            for meter in of_connection:
                exponents = self.truth.exponents_of(meter.key)
                kind: tuple[object, ...] = (meter.profile, *sorted(exponents.items()))
                if kind not in layouts:
                    layouts[kind] = Layout.of(self.truth.profile_of(meter.key), exponents)
                members[kind].append(meter)
            for kind, alike in members.items():
                if len(alike) >= SHARED_FROM_UNITS:
                    shared[kind] += alike
                else:
                    groups += [(layouts[kind], [meter]) for meter in alike]
        groups += [(layouts[kind], alike) for kind, alike in shared.items()]
        units: dict[str, dict[int, Unit]] = {connection: {} for connection in meters}
        for layout, group in groups:
            keys = [meter.key for meter in group]
            bank = Bank(self.truth, layout, keys, now_us=self._now_us, refresh_s=self._refresh_s)
            for position, meter in enumerate(group):
                own = units[meter.connection]
                own[_unit_id(meter, own)] = Unit(meter.key, bank, position)
        return units


def _unit_id(meter: Meter, taken: Mapping[int, Unit]) -> int:
    unit_id = 1 if meter.unit_id is None else meter.unit_id
    if unit_id in taken:
        raise ConfigurationError(
            f"meters {taken[unit_id].meter_key} and {meter.key} are both unit {unit_id} of connection "
            f"{meter.connection}; give each its own unit_id"
        )
    return unit_id


def _by_connection(meters: Sequence[Meter]) -> defaultdict[str, list[Meter]]:
    found: defaultdict[str, list[Meter]] = defaultdict(list)
    for meter in meters:
        found[meter.connection].append(meter)
    return found
