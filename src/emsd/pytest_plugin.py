"""Fixtures of pytest for whoever reads energy meters: a simulated plant, and single devices, with their truth.

    def test_my_collector_reads_the_incomer(emsd_plant):
        host, port, unit_id = emsd_plant.address("incomer")
        ...
        assert measured == pytest.approx(emsd_plant.true_energy_kwh("incomer", begin, end).import_kwh, rel=0.001)

    def test_my_driver_reads_power(emsd_device):
        meter = emsd_device("schneider_pm5560", active_power_kw=123.4)
        assert my_driver(meter.host, meter.port, meter.unit_id) == pytest.approx(meter.truth["active_power_kw"])

They run on an event loop in a thread of their own, so tests may be plain functions or coroutines of any framework.
Like the command line this module puts simulator and servers together; nothing of emsd imports it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from emsd.plant.loader import LoadedPlant
    from emsd.plant.models import Plant
    from simulator import EnergyTruth, Simulator
    from simulator.device import SetModbusDevice, SetMqttDevice

__all__ = ["Address", "OpenDevice", "RunningDevice", "RunningPlant"]

Result = TypeVar("Result")
Opened = TypeVar("Opened")

_START_S: Final = 60.0
_PLANT: Final = """\
version: 1
site: {name: Test plant, time_zone: Europe/Berlin, carbon_region: DE, latitude: 52.5, longitude: 13.4}
areas:
  - {key: site, name: Site}
  - {key: hall, name: Hall, parent: site}
  - {key: roof, name: Roof, parent: site}
assets:
  - {key: grid, name: Grid connection, kind: incomer, area: site, rated_power_kw: 1000}
  - {key: tools, name: Process tools, kind: process_tool, area: hall, rated_power_kw: 400}
  - {key: compressor, name: Compressor, kind: compressor, area: hall, rated_power_kw: 110}
  - {key: pv, name: PV inverter, kind: pv_inverter, area: roof, rated_power_kw: 100}
connections:
  - {key: substation, kind: modbus_tcp, host: 127.0.0.1, port: 15020}
  - {key: roof, kind: modbus_tcp, host: 127.0.0.1, port: 15021}
meters:
  - {key: incomer, name: Incomer, asset: grid, profile: schneider_pm5560, connection: substation, unit_id: 1}
  - key: tools
    name: Tools
    asset: tools
    parent: incomer
    profile: eastron_sdm630
    connection: substation
    unit_id: 2
  - key: compressor
    name: Compressor
    asset: compressor
    parent: incomer
    profile: abb_b23
    connection: substation
    unit_id: 3
  - {key: pv, name: PV, asset: pv, parent: incomer, profile: sunspec_inverter, connection: roof, unit_id: 1}
"""
"""The plant of `emsd_plant` where no other is named."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the settings of the fixtures."""
    parser.addini("emsd_plant", "the plant's description that emsd_plant simulates; absent: a small one", default="")
    parser.addini("emsd_seed", "seed of the simulated plant and devices", default="1")
    parser.addini(
        "emsd_broker", "mqtt://host:port for devices that publish; absent: a private Mosquitto, or EMSD_TEST_MQTT_URL",
        default="",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker, so that --strict-markers knows it."""
    config.addinivalue_line(
        "markers", "emsd_plant(path=None, seed=None): which plant emsd_plant simulates in this test"
    )


class Address(NamedTuple):
    """Where a Modbus meter answers."""

    host: str
    port: int
    unit_id: int


class _Loop:
    """An event loop in a thread; everything of the simulator happens on it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="emsd-simulator", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_S)

    def call(self, function: Callable[[], Result]) -> Result:
        async def once() -> Result:
            return function()

        return self.run(once())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)
        self._loop.close()


class _Held:
    """Asynchronous blocks that stay open until the test is over, each entered and left by one and the same task."""

    def __init__(self, loop: _Loop) -> None:
        self.loop = loop
        self._over = loop.call(asyncio.Event)
        self._tasks: list[asyncio.Task[None]] = []

    def enter(self, block: AbstractAsyncContextManager[Opened]) -> Opened:
        async def start() -> Opened:
            opened: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
            self._tasks.append(asyncio.create_task(self._hold(block, opened), name="emsd-fixture"))
            return await opened

        return self.loop.run(start())

    async def _hold(self, block: AbstractAsyncContextManager[Opened], opened: asyncio.Future[Opened]) -> None:
        try:
            async with block as found:
                opened.set_result(found)
                await self._over.wait()
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(error)

    def leave(self) -> None:
        async def end() -> None:
            self._over.set()
            await asyncio.gather(*self._tasks)

        self.loop.run(end())


class RunningPlant:
    """A running simulated plant.

    plant        as it is really served: with the ports of its Modbus connections
    control_url  where `emsd simulate verify` asks what is true
    began        since when its devices answer
    """

    def __init__(self, simulator: Simulator, control_url: str, loop: _Loop) -> None:
        self._simulator = simulator
        self._loop = loop
        self.control_url = control_url
        self.plant: Plant = simulator.served_plant
        self.began = datetime.now(UTC)

    def address(self, meter: str) -> Address:
        """Return where a Modbus meter answers.

        Raises:
            KeyError: there is no such meter, or it does not speak Modbus.
        """
        found = next((each for each in self.plant.meters if each.key == meter), None)
        ports = self._simulator.ports
        if found is None or found.connection not in ports:
            raise KeyError(f"the plant has no Modbus meter {meter!r}; it has {sorted(self.modbus_meters)}")
        host = next(each.host for each in self.plant.connections if each.key == found.connection)  # type: ignore[union-attr]
        return Address(host, ports[found.connection], 1 if found.unit_id is None else found.unit_id)

    @property
    def modbus_meters(self) -> list[str]:
        """The keys of its meters that speak Modbus."""
        return [each.key for each in self.plant.meters if each.connection in self._simulator.ports]

    def true_energy_kwh(self, meter: str, from_: datetime, to: datetime) -> EnergyTruth:
        """Return the energy that really flowed through a meter between two aware datetimes: import and export [kWh]."""
        from emsd.readings import instant_us

        truth = self._simulator.truth
        return self._loop.call(lambda: truth.true_energy_kwh(meter, instant_us(from_), instant_us(to)))

    def true_values(self, meter: str, at: datetime) -> dict[str, float]:
        """Return every quantity of a meter at an aware datetime, before any rounding by the device."""
        from emsd.readings import instant_us

        return self._loop.call(lambda: self._simulator.truth.quantities(meter, instant_us(at)))

    def count_kwh(self, meter: str) -> float:
        """Return the resolution of a meter's energy counter [kWh], which no reader can see beyond."""
        return self._loop.call(lambda: self._simulator.truth.counter_count_kwh(meter))

    @property
    def requests(self) -> dict[str, int]:
        """Modbus requests answered so far, by meter."""
        return self._loop.call(lambda: self._simulator.requests)


class RunningDevice:
    """One device that shows what it is told to."""

    def __init__(self, device: SetModbusDevice | SetMqttDevice, loop: _Loop) -> None:
        self._device = device
        self._loop = loop

    @property
    def host(self) -> str:
        """Where it answers, or the broker's host."""
        from simulator.device import SetMqttDevice

        return self._device.broker[0] if isinstance(self._device, SetMqttDevice) else self._device.host

    @property
    def port(self) -> int:
        """Where it answers, or the broker's port."""
        from simulator.device import SetMqttDevice

        return self._device.broker[1] if isinstance(self._device, SetMqttDevice) else self._device.port

    @property
    def unit_id(self) -> int:
        """Its Modbus unit id."""
        return self._modbus.unit_id

    @property
    def requests(self) -> int:
        """Modbus requests that it was asked so far."""
        return self._modbus.requests

    @property
    def topics(self) -> list[str]:
        """Where it publishes."""
        return [topic for topic, _ in self.messages]

    @property
    def messages(self) -> list[tuple[str, bytes]]:
        """What it would publish now: (topic, payload)."""
        return self._loop.call(self._mqtt.messages)

    @property
    def values(self) -> dict[str, float | None]:
        """What it has been told to show, in canonical units; None is no value."""
        return self._device.values

    @property
    def truth(self) -> dict[str, float | None]:
        """What a right reader gets of it now, by quantity; None where the device says that it has no value."""
        return self._loop.call(lambda: self._device.truth)

    def set(self, **values: float | None) -> None:
        """Show these quantities from now on; None is no value."""
        self._loop.call(lambda: self._device.set(values))

    def publish(self) -> None:
        """Publish what it has to say once."""
        self._loop.run(self._mqtt.publish())

    @property
    def _modbus(self) -> SetModbusDevice:
        from simulator.device import SetModbusDevice

        if not isinstance(self._device, SetModbusDevice):
            raise TypeError(f"a device of profile {self._device.profile.profile} publishes; nobody asks it")
        return self._device

    @property
    def _mqtt(self) -> SetMqttDevice:
        from simulator.device import SetMqttDevice

        if not isinstance(self._device, SetMqttDevice):
            raise TypeError(f"a device of profile {self._device.profile.profile} publishes nothing; ask it")
        return self._device


class OpenDevice(Protocol):
    """What `emsd_device` is: a function that makes devices, which stay until the test is over."""

    def __call__(
        self, profile: str, *, rated_power_kw: float = 100.0, unit_id: int = 1, **values: float | None
    ) -> RunningDevice:
        """Return a device of a shipped profile that shows these quantities, and a summer's noon for the others."""


@pytest.fixture(scope="session")
def _emsd_loop() -> Iterator[_Loop]:
    loop = _Loop()
    yield loop
    loop.close()


@pytest.fixture
def _emsd_held(_emsd_loop: _Loop) -> Iterator[_Held]:
    held = _Held(_emsd_loop)
    yield held
    held.leave()


@pytest.fixture(scope="session")
def emsd_broker(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """Host and port of the broker that devices publish to; a private Mosquitto where none is named."""
    named = str(request.config.getini("emsd_broker")) or os.environ.get("EMSD_TEST_MQTT_URL", "")
    if named:
        parts = urlsplit(named)
        yield parts.hostname or "127.0.0.1", parts.port or 1883
        return
    from emsd.servers import PrivateMosquitto, temporary_folder

    with temporary_folder("emsd-broker-") as folder, PrivateMosquitto(folder / "mosquitto") as private:
        parts = urlsplit(private.url)
        yield parts.hostname or "127.0.0.1", parts.port or 1883


@pytest.fixture
def emsd_plant(request: pytest.FixtureRequest, tmp_path: Path, _emsd_held: _Held) -> RunningPlant:
    """A running simulated plant on free loopback ports, and what is true of it."""
    from emsd.plant.loader import load_plant

    path, seed = _plant_wanted(request)
    if path is None:
        path = tmp_path / "emsd-plant.yaml"
        path.write_text(_PLANT, encoding="utf-8")
    loaded = load_plant(path, environ=os.environ)

    async def make() -> AbstractAsyncContextManager[tuple[Simulator, str]]:
        return _Serving(loaded, seed)

    simulator, url = _emsd_held.enter(_emsd_held.loop.run(make()))
    return RunningPlant(simulator, url, _emsd_held.loop)


class _Serving:
    """A simulator and what it says over HTTP, opened and closed together."""

    def __init__(self, loaded: LoadedPlant, seed: int) -> None:
        from simulator import Simulator

        # Counters begin at midnight: of a month that is over in part every day would have to be computed first.
        self._loaded = loaded
        self._simulator = Simulator(loaded.plant, loaded.profiles, seed=seed, anchor=datetime.now(UTC), free_ports=True)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> tuple[Simulator, str]:
        from emsd.cli.simulate.kpi_truth import kpi_router
        from simulator.control import create_control, serve_control

        await self._stack.enter_async_context(self._simulator)
        app = create_control(self._simulator, [kpi_router(self._loaded)])
        url = await self._stack.enter_async_context(serve_control(app))
        return self._simulator, url

    async def __aexit__(self, *raised: object) -> None:
        await self._stack.aclose()


@pytest.fixture
def emsd_device(request: pytest.FixtureRequest, _emsd_held: _Held) -> OpenDevice:
    """Make devices of shipped profiles: `emsd_device("abb_b23", active_power_kw=12.5)`."""
    from emsd.plant.profiles import load_profiles
    from simulator.device import set_device

    library = load_profiles()
    seed = int(request.config.getini("emsd_seed"))

    def open_(
        profile: str, *, rated_power_kw: float = 100.0, unit_id: int = 1, **values: float | None
    ) -> RunningDevice:
        if profile not in library:
            raise KeyError(f"there is no profile {profile!r}; `emsd profiles list` shows those there are")
        chosen = library[profile]
        broker = request.getfixturevalue("emsd_broker") if chosen.mqtt is not None else None
        made = set_device(chosen, broker=broker, rated_power_kw=rated_power_kw, unit_id=unit_id, seed=seed)
        device = RunningDevice(_emsd_held.enter(made), _emsd_held.loop)
        device.set(**values)
        return device

    return open_


def _plant_wanted(request: pytest.FixtureRequest) -> tuple[Path | None, int]:
    """Return the plant's path, None: the small one, and its seed: of the marker, else of the settings."""
    marker = request.node.get_closest_marker("emsd_plant")
    path = marker.args[0] if marker and marker.args else marker.kwargs.get("path") if marker else None
    path = path or request.config.getini("emsd_plant") or None
    seed = marker.kwargs.get("seed") if marker else None
    return (
        None if path is None else request.config.rootpath / str(path),
        int(request.config.getini("emsd_seed") if seed is None else seed),
    )
