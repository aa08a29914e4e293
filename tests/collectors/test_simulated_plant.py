"""A plant with meters on every kind of connection, simulated from its description and measured by the collectors.

Time stands still for the devices, so what is measured has to be what physics says at that instant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from collectors.modbus import open_collector as open_modbus
from collectors.mqtt import open_collector as open_mqtt
from collectors.sparkplug import open_collector as open_sparkplug
from emsd.collector import BoundMeter, Collector
from emsd.plant.models import Area, Asset, AssetKind, Meter, Plant, Site
from emsd.quantities import BY_NAME, Kind
from emsd.readings import Reading
from emsd.servers import PrivateMosquitto
from simulator import SimulatedPlant, Simulator
from simulator.history import readable_series
from tests.collectors.support import MemorySink, eventually, running, shipped_profiles
from tests.simulator.transports import KINDS, NOON_US, connection

MODBUS = ("schneider_pm5560", "abb_b23", "sunspec_meter")
MQTT = {
    "shelly_gen2_triphase": "tri", "shelly_gen2_mono": "mono/2", "tasmota_energy": "board",
    "tasmota_energy_bidirectional": "grid", "zigbee2mqtt_plug": "hall 1/plug", "mqtt_value_per_topic": "press",
    "json_energy_meter": "json", "json_piece_counter": "pieces",
}  # fmt: skip
OPENERS: dict[str, Callable[..., Collector]] = {"mqtt": open_mqtt, "sparkplug_b": open_sparkplug}
# Sums over phases that a device rounds one by one, of powers of up to 80 kW.
ROUNDED_KW = {"tasmota_energy": 0.002, "tasmota_energy_bidirectional": 0.002}


def whole_plant(url: str) -> Plant:
    place = urlsplit(url)
    broker = {"host": place.hostname, "port": place.port}
    connections: list[dict[str, Any]] = [connection(kind) for kind in KINDS]
    connections += [{"key": "mqtt", "kind": "mqtt", **broker}, {"key": "spb", "kind": "sparkplug_b", **broker}]
    described: list[tuple[str, str, dict[str, Any]]]
    described = [(kind, name, {"unit_id": unit}) for kind in KINDS for unit, name in enumerate(MODBUS, start=1)]
    described += [("mqtt", name, {"topic": topic}) for name, topic in MQTT.items()]
    described += [("spb", "sparkplug_energy_meter", {"topic": "site/edge/press"})]
    meters = [
        Meter.model_validate(
            {"key": f"{where}-{name}", "name": name, "asset": "line", "profile": name, "connection": where,
             "poll_interval_s": 0.2, "rated_power_kw": 80} | own
        )
        for where, name, own in described
    ]  # fmt: skip
    return Plant.model_validate(
        {
            "site": Site(name="Hall", time_zone="Asia/Shanghai", carbon_region="CN"),
            "areas": (Area(key="hall", name="Hall"),),
            "assets": (Asset(key="line", name="Line", kind=AssetKind.PROCESS_TOOL, area="hall", rated_power_kw=80),),
            "connections": connections,
            "meters": meters,
        }
    )


def measured(readings: list[Reading], meter_id: int) -> dict[str, float | None]:
    """Return the last value of each quantity that a meter delivered."""
    return {name: value for reading in readings if reading.meter_id == meter_id for name, value in reading.items()}


def check(name: str, quantity: str, value: float | None, truth: SimulatedPlant, key: str) -> None:
    """Hold a measured value against what the device should have shown, and that against physics."""
    shown = float(readable_series(truth, key, np.array([NOON_US], dtype=np.int64))[quantity][0])
    where = f"{key} {quantity}"
    if value is None:
        # To SunSpec an accumulator at 0 is one that has not accumulated.
        assert (name, shown) == ("sunspec_meter", 0.0), where
        return
    assert value == pytest.approx(shown, rel=1e-6, abs=ROUNDED_KW.get(name, 1e-6)), where
    true = truth.quantities(key, NOON_US)[quantity]
    if BY_NAME[quantity].kind is Kind.COUNTER:
        assert -1e-6 <= true - value <= (truth.profile_of(key).counter_count(quantity) or 0.1) + 0.01, where
    elif quantity != "run_state":
        assert value == pytest.approx(true, rel=0.02, abs=0.06), where


async def test_a_plant_with_meters_on_every_connection_is_measured_as_it_is(broker: PrivateMosquitto) -> None:
    plant, library, sink = whole_plant(broker.url), shipped_profiles(), MemorySink()
    ids = {meter.key: number for number, meter in enumerate(plant.meters, start=1)}
    start = asyncio.Event()
    async with AsyncExitStack() as stack:
        simulator = Simulator(plant, library, free_ports=True, now_us=lambda: NOON_US, publish_when=start)
        await stack.enter_async_context(simulator)
        collectors = []
        for each in simulator.served_plant.connections:
            bound = [
                BoundMeter(ids[meter.key], meter, library[meter.profile])
                for meter in plant.meters
                if meter.connection == each.key
            ]
            collector = OPENERS.get(each.kind, open_modbus)(each, bound, sink)
            await stack.enter_async_context(running(collector))
            collectors.append(collector)
        await eventually(lambda: all(each.connected() for each in collectors if hasattr(each, "connected")))
        start.set()
        truth = simulator.truth
        wanted = {meter.key: set(truth.profile_of(meter.key).quantities) for meter in plant.meters}

        def all_measured() -> bool:
            readings = [*sink.offered, *sink.stored]
            return all(set(measured(readings, ids[key])) >= names for key, names in wanted.items())

        await eventually(all_measured)
        readings = [*sink.offered, *sink.stored]
    assert not sink.poisons
    checked = 0
    for meter in plant.meters:
        for quantity, value in measured(readings, ids[meter.key]).items():
            check(meter.profile, quantity, value, truth, meter.key)
            checked += 1
    assert checked == sum(len(names) for names in wanted.values())
