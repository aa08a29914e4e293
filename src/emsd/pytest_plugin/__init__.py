"""Fixtures of pytest for whoever reads energy meters: a simulated plant, and single devices, with their truth.

    def test_my_collector_reads_the_incomer(emsd_plant):
        host, port, unit_id = emsd_plant.address("incomer")
        ...
        assert measured == pytest.approx(emsd_plant.true_energy_kwh("incomer", begin, end).import_kwh, rel=0.001)

    def test_my_driver_reads_power(emsd_device):
        meter = emsd_device("schneider_pm5560", active_power_kw=123.4)
        assert my_driver(meter.host, meter.port, meter.unit_id) == pytest.approx(meter.truth["active_power_kw"])

They run on an event loop in a thread of their own, so tests may be plain functions or coroutines of any framework.
Like the command line this package puts simulator and servers together; nothing of emsd imports it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from emsd.errors import EmsdError
from emsd.pytest_plugin.devices import OpenDevice, RunningDevice
from emsd.pytest_plugin.plants import Address, RunningFault, RunningPlant, serving
from emsd.pytest_plugin.thread import Held, Loop

__all__ = ["Address", "OpenDevice", "RunningDevice", "RunningFault", "RunningPlant"]

_SMALL_PLANT: Final = Path(__file__).with_name("plant.yaml")
_BROKER_VARIABLE: Final = "EMSD_TEST_MQTT_URL"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the settings of the fixtures."""
    parser.addini("emsd_plant", "the plant's description that emsd_plant simulates; absent: a small one", default="")
    parser.addini("emsd_seed", "seed of the simulated plant and devices", default="1")
    parser.addini(
        "emsd_broker",
        f"mqtt://host:port for devices that publish; absent: {_BROKER_VARIABLE}, or a private Mosquitto",
        default="",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker, so that --strict-markers knows it."""
    config.addinivalue_line(
        "markers", "emsd_plant(path=None, seed=None): which plant emsd_plant simulates in this test"
    )


@pytest.fixture(scope="session")
def _emsd_loop() -> Iterator[Loop]:
    try:
        import simulator  # noqa: F401
    except ModuleNotFoundError as error:
        pytest.fail(
            f"simulated devices need {error.name}; install it with `pip install 'emsd[simulator]'`", pytrace=False
        )
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def _emsd_held(_emsd_loop: Loop) -> Iterator[Held]:
    held = Held(_emsd_loop)
    yield held
    held.leave()


@pytest.fixture(scope="session")
def emsd_broker(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """Host and port of the broker that devices publish to; a private Mosquitto where none is named."""
    named = str(request.config.getini("emsd_broker")) or os.environ.get(_BROKER_VARIABLE, "")
    if named:
        yield _host_and_port(named)
        return
    from emsd.servers import PrivateMosquitto, temporary_folder

    with temporary_folder("emsd-broker-") as folder, PrivateMosquitto(folder / "mosquitto") as private:
        yield _host_and_port(private.url)


@pytest.fixture
def emsd_plant(request: pytest.FixtureRequest, _emsd_held: Held) -> RunningPlant:
    """A running simulated plant on free loopback ports, and what is true of it."""
    from emsd.plant.loader import load_plant

    path, seed = _plant_wanted(request)
    try:
        loaded = load_plant(path, environ=os.environ)
        simulator, url = _emsd_held.enter(serving(loaded, seed))
    except EmsdError as error:
        pytest.fail(f"emsd_plant: {error}", pytrace=False)
    return RunningPlant(simulator, url, _emsd_held.loop)


@pytest.fixture
def emsd_device(request: pytest.FixtureRequest, _emsd_held: Held) -> OpenDevice:
    """Make devices of shipped profiles: `emsd_device("abb_b23", active_power_kw=12.5)`."""
    from emsd.plant.profiles import load_profiles
    from simulator.device import set_device

    library = load_profiles()
    seed = int(request.config.getini("emsd_seed"))

    def open_(
        profile: str,
        *,
        rated_power_kw: float = 100.0,
        unit_id: int = 1,
        topic: str | None = None,
        **values: float | None,
    ) -> RunningDevice:
        if profile not in library:
            raise KeyError(f"there is no profile {profile!r}; `emsd profiles list` shows those there are")
        chosen = library[profile]
        broker = request.getfixturevalue("emsd_broker") if chosen.mqtt is not None else None
        # Tests at the same time, and devices of the same profile, share a broker.
        own = topic or f"emsd-device/{profile}-{uuid.uuid4().hex[:8]}"
        made = set_device(chosen, broker=broker, topic=own, rated_power_kw=rated_power_kw, unit_id=unit_id, seed=seed)
        device = RunningDevice(_emsd_held.enter(made), _emsd_held.loop)
        device.set(**values)
        return device

    return open_


def _plant_wanted(request: pytest.FixtureRequest) -> tuple[Path, int]:
    """Return the plant's path and its seed: of the marker, else of the settings, else the small one."""
    marker = request.node.get_closest_marker("emsd_plant")
    path = marker.args[0] if marker and marker.args else marker.kwargs.get("path") if marker else None
    path = path or request.config.getini("emsd_plant") or None
    seed = marker.kwargs.get("seed") if marker else None
    return (
        _SMALL_PLANT if path is None else request.config.rootpath / str(path),
        int(request.config.getini("emsd_seed") if seed is None else seed),
    )


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url if "://" in url else f"mqtt://{url}")
    if parts.scheme != "mqtt" or not parts.hostname or parts.username is not None:
        pytest.fail(
            f"emsd_broker, or {_BROKER_VARIABLE}, is mqtt://host:port of a broker without password and TLS; name one",
            pytrace=False,
        )
    return parts.hostname, parts.port or 1883
