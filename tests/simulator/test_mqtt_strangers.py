"""Every MQTT and Sparkplug B profile as mosquitto_sub hears it, decoded by json and by Tahu's own schema.

What stands where in a message is written down here once more, from the documents of the devices, with no help of the
profiles, the collectors or the simulator.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import reduce
from typing import Any, NamedTuple

import pytest
from esio_spb_builder.core.sparkplug_b_pb2 import Payload

from emsd.plant.models import Plant
from emsd.quantities import BY_NAME, RUN_STATE_CODES, Kind, RunState
from emsd.servers import PrivateMosquitto
from simulator import SimulatedPlant, Simulator
from tests.collectors.mqtt_support import pub
from tests.collectors.support import clock_from
from tests.simulator.transports import NOON_US, profiles

ANCHOR = datetime(2026, 6, 1, tzinfo=UTC)
DEADLINE_S = 60


class Shown(NamedTuple):
    """One quantity in the messages of a device."""

    topic: str
    path: tuple[str | int, ...]
    quantity: str
    factor: float
    """From the number in the message to the quantity's unit."""
    step: float
    """Resolution, in the quantity's unit; a counter shows what it has completed."""


def phases(topic: str, make: Callable[[int], tuple[tuple[str | int, ...], str]], *scale: float) -> list[Shown]:
    return [Shown(topic, *make(line), *scale) for line in (1, 2, 3)]


def shelly_triphase(t: str) -> list[Shown]:
    em, data = f"{t}/status/em:0", f"{t}/status/emdata:0"
    return [
        *phases(em, lambda n: ((f"{'abc'[n - 1]}_act_power",), f"active_power_l{n}_kw"), 1e-3, 1e-4),
        *phases(em, lambda n: ((f"{'abc'[n - 1]}_voltage",), f"voltage_l{n}_n_v"), 1, 0.1),
        *phases(em, lambda n: ((f"{'abc'[n - 1]}_current",), f"current_l{n}_a"), 1, 0.001),
        Shown(em, ("total_act_power",), "active_power_kw", 1e-3, 1e-6),
        Shown(em, ("a_freq",), "frequency_hz", 1, 0.1),
        Shown(data, ("total_act",), "energy_import_kwh", 1e-3, 1e-5),
        Shown(data, ("total_act_ret",), "energy_export_kwh", 1e-3, 1e-5),
    ]


def shelly_mono(t: str) -> list[Shown]:
    prefix, _, channel = t.rpartition("/")
    em, data = f"{prefix}/status/em1:{channel}", f"{prefix}/status/em1data:{channel}"
    return [
        Shown(em, ("act_power",), "active_power_kw", 1e-3, 1e-4),
        Shown(em, ("aprt_power",), "apparent_power_kva", 1e-3, 1e-4),
        Shown(em, ("voltage",), "voltage_l1_n_v", 1, 0.1),
        Shown(em, ("current",), "current_l1_a", 1, 0.001),
        Shown(em, ("pf",), "power_factor", 1, 0.01),
        Shown(em, ("freq",), "frequency_hz", 1, 0.1),
        Shown(data, ("total_act_energy",), "energy_import_kwh", 1e-3, 1e-5),
        Shown(data, ("total_act_ret_energy",), "energy_export_kwh", 1e-3, 1e-5),
    ]


def tasmota(t: str) -> list[Shown]:
    sensor = f"tele/{t}/SENSOR"
    return [
        *phases(sensor, lambda n: (("ENERGY", "Power", n - 1), f"active_power_l{n}_kw"), 1e-3, 1e-3),
        *phases(sensor, lambda n: (("ENERGY", "Voltage", n - 1), f"voltage_l{n}_n_v"), 1, 1),
        *phases(sensor, lambda n: (("ENERGY", "Current", n - 1), f"current_l{n}_a"), 1, 0.001),
        Shown(sensor, ("ENERGY", "Frequency"), "frequency_hz", 1, 0.01),
        Shown(sensor, ("ENERGY", "Total"), "energy_import_kwh", 1, 0.001),
    ]


def tasmota_bidirectional(t: str) -> list[Shown]:
    sensor = f"tele/{t}/SENSOR"
    return [
        *tasmota(t),
        Shown(sensor, ("ENERGY", "ImportActive"), "energy_import_kwh", 1, 0.001),
        Shown(sensor, ("ENERGY", "ExportActive"), "energy_export_kwh", 1, 0.001),
    ]


def plug(t: str) -> list[Shown]:
    topic = f"zigbee2mqtt/{t}"
    return [
        Shown(topic, ("power",), "active_power_kw", 1e-3, 1e-4),
        Shown(topic, ("voltage",), "voltage_l1_n_v", 1, 1),
        Shown(topic, ("current",), "current_l1_a", 1, 0.01),
        Shown(topic, ("energy",), "energy_import_kwh", 1, 0.01),
    ]


def json_meter(t: str) -> list[Shown]:
    return [
        *phases(t, lambda n: (("power", f"l{n}_w"), f"active_power_l{n}_kw"), 1e-3, 1e-6),
        *phases(t, lambda n: (("voltage_v", f"l{n}"), f"voltage_l{n}_n_v"), 1, 0.001),
        *phases(t, lambda n: (("current_a", f"l{n}"), f"current_l{n}_a"), 1, 0.001),
        Shown(t, ("power", "total_w"), "active_power_kw", 1e-3, 1e-6),
        Shown(t, ("power", "reactive_var"), "reactive_power_kvar", 1e-3, 1e-6),
        Shown(t, ("power", "apparent_va"), "apparent_power_kva", 1e-3, 1e-6),
        Shown(t, ("power", "factor"), "power_factor", 1, 0.001),
        Shown(t, ("frequency_hz",), "frequency_hz", 1, 0.001),
        Shown(t, ("energy", "import_wh"), "energy_import_kwh", 1e-3, 1e-3),
        Shown(t, ("energy", "export_wh"), "energy_export_kwh", 1e-3, 1e-3),
    ]


def climate(t: str) -> list[Shown]:
    return [
        Shown(t, ("temperature_c",), "room_temperature_c", 1, 0.001),
        Shown(t, ("rh_percent",), "relative_humidity_percent", 1, 0.001),
        Shown(t, ("pressure_pa",), "room_pressure_pa", 1, 0.001),
    ]


def pieces(t: str) -> list[Shown]:
    return [Shown(t, ("pieces",), "pieces_count", 1, 1), Shown(t, ("good",), "good_pieces_count", 1, 1)]


def one_each(t: str) -> list[Shown]:
    names = ("active_power_kw", "power_factor", "frequency_hz", "voltage_l3_n_v", "current_l2_a", "energy_import_kwh")
    return [Shown(f"{t}/{name}", (), name, 1, 0.001) for name in names]


DEVICES: dict[str, Callable[[str], list[Shown]]] = {
    "shelly_gen2_triphase": shelly_triphase, "shelly_gen2_mono": shelly_mono, "tasmota_energy": tasmota,
    "tasmota_energy_bidirectional": tasmota_bidirectional, "zigbee2mqtt_plug": plug, "json_energy_meter": json_meter,
    "json_climate_sensor": climate, "json_piece_counter": pieces, "mqtt_value_per_topic": one_each,
}  # fmt: skip


def plant_on(broker: PrivateMosquitto, kind: str, topics: dict[str, str]) -> Plant:
    """A plant with a meter of each profile at its topic; the key of a meter is its profile."""
    return Plant.model_validate(
        {
            "site": {"name": "Hall", "time_zone": "Asia/Shanghai", "carbon_region": "CN"},
            "areas": [{"key": "hall", "name": "Hall"}],
            "assets": [{"key": "line", "name": "Line", "kind": "process_tool", "area": "hall", "rated_power_kw": 80}],
            "connections": [{"key": "broker", "kind": kind, "host": "127.0.0.1", "port": broker.port}],
            "meters": [
                {"key": name, "name": name, "asset": "line", "profile": name, "connection": "broker", "topic": topic,
                 "poll_interval_s": 0.2, "rated_power_kw": 80}
                for name, topic in topics.items()
            ],
        }
    )  # fmt: skip


@asynccontextmanager
async def hearing(broker: PrivateMosquitto, *topics: str) -> AsyncIterator[AsyncIterator[tuple[str, bytes]]]:
    """Yield what mosquitto_sub hears on topics: it has subscribed when the block begins."""
    ready = f"ready/{uuid.uuid4().hex}"
    await pub(broker, ready, "yes", retain=True)
    wanted = [word for topic in (ready, *topics) for word in ("-t", topic)]
    program = await asyncio.create_subprocess_exec(
        broker.sub, "-p", str(broker.port), *wanted, "-q", "1", "-F", "%x %t", stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    lines = program.stdout

    async def heard() -> AsyncIterator[tuple[str, bytes]]:
        while line := await lines.readline():
            payload, _, topic = line.decode().rstrip("\n").partition(" ")
            yield topic, bytes.fromhex(payload)

    try:
        async with asyncio.timeout(DEADLINE_S):
            messages = heard()
            async for topic, _ in messages:
                if topic == ready:
                    break
            yield messages
    finally:
        program.kill()
        await program.wait()


def check(found: float, quantity: str, step: float, true: float) -> None:
    if BY_NAME[quantity].kind is Kind.COUNTER:
        assert true - step - 1e-9 <= found <= true + step * 1e-5 + 1e-9, quantity
    else:
        assert found == pytest.approx(true, abs=step / 2 + 1e-9), quantity


async def test_every_mqtt_profile_is_true_to_mosquitto_sub(mosquitto: PrivateMosquitto) -> None:
    assert set(DEVICES) == {name for name, profile in profiles().items() if profile.mqtt is not None}
    run, start = uuid.uuid4().hex, asyncio.Event()
    topics = {name: f"{run}-{name}/1" for name in DEVICES}
    shown = {name: DEVICES[name](topic) for name, topic in topics.items()}
    wanted = {each.topic for of_device in shown.values() for each in of_device}
    said: dict[str, bytes] = {}
    plant = plant_on(mosquitto, "mqtt", topics)
    simulator = Simulator(plant, profiles(), anchor=ANCHOR, now_us=lambda: NOON_US, publish_when=start)
    async with simulator, hearing(mosquitto, *wanted) as messages:
        start.set()
        async for topic, payload in messages:
            said.setdefault(topic, payload)
            if set(said) >= wanted:
                break
    for name, of_device in shown.items():
        true = simulator.truth.quantities(name, NOON_US)
        for each in of_device:
            value = reduce(lambda inside, key: inside[key], each.path, json.loads(said[each.topic]))
            check(float(value) * each.factor, each.quantity, each.step, true[each.quantity])
    status = json.loads(said[f"zigbee2mqtt/{topics['zigbee2mqtt_plug']}"])
    running = simulator.truth.quantities("zigbee2mqtt_plug", NOON_US)["run_state"] != RUN_STATE_CODES[RunState.OFF]
    assert status["state"] == ("ON" if running else "OFF")


METRICS = {
    "Power/Active": "active_power_kw", "Power/Active L2": "active_power_l2_kw", "Power/Reactive": "reactive_power_kvar",
    "Power/Factor": "power_factor", "Energy/Import": "energy_import_kwh", "Energy/Export": "energy_export_kwh",
    "Voltage/L1-N": "voltage_l1_n_v", "Current/L3": "current_l3_a", "Frequency": "frequency_hz",
}  # fmt: skip
METRIC_STEP = 0.001


def check_metrics(payload: Any, names: dict[int, str], physics: SimulatedPlant, key: str) -> int:
    """Hold every known metric of a payload against physics at its own time; return how many they were."""
    known = [(metric, METRICS[names[metric.alias]]) for metric in payload.metrics if names[metric.alias] in METRICS]
    for metric, quantity in known:
        value = getattr(metric, metric.WhichOneof("value"))
        check(float(value), quantity, METRIC_STEP, physics.quantities(key, 1000 * metric.timestamp)[quantity])
    return len(known)


async def test_the_sparkplug_profile_is_true_to_the_schema_of_eclipse_tahu(mosquitto: PrivateMosquitto) -> None:
    key, group, start = "sparkplug_energy_meter", uuid.uuid4().hex, asyncio.Event()
    assert [key] == [name for name, profile in profiles().items() if profile.sparkplug is not None]
    plant = plant_on(mosquitto, "sparkplug_b", {key: f"{group}/edge/press"})
    noon = clock_from(NOON_US)
    simulator = Simulator(plant, profiles(), anchor=ANCHOR, now_us=noon, publish_when=start)
    said: list[tuple[str, Any]] = []
    async with simulator, hearing(mosquitto, f"spBv1.0/{group}/#") as messages:
        start.set()
        async for topic, data in messages:
            said.append((topic, Payload.FromString(data)))
            if len(said) == 5:
                break
    node, device = f"spBv1.0/{group}/NBIRTH/edge", f"spBv1.0/{group}/DBIRTH/edge/press"
    assert [topic for topic, _ in said] == [node, device, *[f"spBv1.0/{group}/DDATA/edge/press"] * 3]
    assert [payload.seq for _, payload in said] == [0, 1, 2, 3, 4]
    births = {metric.name: metric for metric in said[0][1].metrics}
    assert births["bdSeq"].long_value == 0
    assert births["Node Control/Rebirth"].boolean_value is False
    names = {metric.alias: metric.name for metric in said[1][1].metrics}
    assert check_metrics(said[1][1], names, simulator.truth, key) == len(METRICS)
    for _, payload in said[2:]:
        assert not any(metric.name for metric in payload.metrics)
        assert check_metrics(payload, names, simulator.truth, key) > 0
