"""Faults of Shelly, Tasmota, Zigbee2MQTT and Sparkplug B devices: each in its own dialect."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from collectors.sparkplug.payload import decode
from emsd.plant.models import Area, Asset, AssetKind, Meter, Plant, Site
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.sparkplug_connection import SparkplugConnection
from emsd.readings import instant_us
from emsd.servers import PrivateMosquitto
from simulator import DeviceFault, SimulatedPlant, Simulator
from simulator.faces import Faces
from simulator.live_fault import LiveFault
from simulator.mqtt_devices import speakers_of
from simulator.mqtt_speaker import MqttDevice, Publication, Speaker
from tests.simulator.transports import NOON_US, profiles
from tests.simulator.wire import until

ANCHOR = datetime(2026, 6, 1, tzinfo=UTC)
DEADLINE_S = 60
DAY_US = 86_400_000_000
HALF_PAST_US = NOON_US + 30_000_000
DIALECTS = {
    "shelly_gen2_triphase": "pro3em",
    "shelly_gen2_mono": "pro3em/0",
    "tasmota_energy": "tasmota",
    "zigbee2mqtt_plug": "plug",
}


def plant_of(profile: str, topic: str, *, port: int = 1883) -> Plant:
    sparkplug = profile.startswith("sparkplug")
    made = SparkplugConnection if sparkplug else MqttConnection
    meter = Meter(
        key="m", name="M", asset="line", profile=profile, connection="broker", topic=topic, poll_interval_s=0.1,
        rated_power_kw=80,
    )  # fmt: skip
    return Plant(
        site=Site(name="Hall", time_zone="Asia/Shanghai", carbon_region="CN"),
        areas=(Area(key="hall", name="Hall"),),
        assets=(Asset(key="line", name="Line", kind=AssetKind.PROCESS_TOOL, area="hall", rated_power_kw=80),),
        connections=(made.model_validate({"key": "broker", "host": "127.0.0.1", "port": port}),),
        meters=(meter,),
    )


def speaker_with(profile: str, *faults: DeviceFault) -> tuple[SimulatedPlant, Speaker, MqttDevice]:
    plant = plant_of(profile, DIALECTS[profile])
    physics = SimulatedPlant(plant, profiles(), 1, anchor=ANCHOR)
    faces = Faces(physics, {})
    faces.put_on((each, frozenset({"m"})) for each in faults)
    layout = physics.profile_of("m").mqtt
    assert layout is not None
    device = MqttDevice(plant.meters[0], layout)
    (speaker,) = speakers_of([device], physics, faces)
    return physics, speaker, device


def said_of_energy(profile: str, speaker: Speaker, device: MqttDevice, now_us: int) -> float:
    """Return the import counter that a device shows [kWh]."""
    said = {each.topic: json.loads(each.payload) for each in speaker.then(device, speaker.clock_us(now_us, device))}
    match profile:
        case "shelly_gen2_triphase":
            return float(said["pro3em/status/emdata:0"]["total_act"] / 1000)
        case "shelly_gen2_mono":
            return float(said["pro3em/status/em1data:0"]["total_act_energy"] / 1000)
        case "tasmota_energy":
            return float(said["tele/tasmota/SENSOR"]["ENERGY"]["Total"])
    return float(said["zigbee2mqtt/plug"]["energy"])


@pytest.mark.parametrize("profile", DIALECTS)
def test_a_counter_that_was_reset_begins_again_in_every_dialect(profile: str) -> None:
    reset = DeviceFault("counter_reset", NOON_US, meter="m")
    physics, speaker, device = speaker_with(profile, reset)
    later_us = NOON_US + 3_600_000_000
    flowed = physics.true_energy_kwh("m", NOON_US, later_us).import_kwh
    assert said_of_energy(profile, speaker, device, later_us) == pytest.approx(flowed, abs=0.02)
    honest = physics.quantities("m", NOON_US - 1_000_000)["energy_import_kwh"]
    assert said_of_energy(profile, speaker, device, NOON_US - 1_000_000) == pytest.approx(honest, abs=0.02)


@pytest.mark.parametrize("profile", ["shelly_gen2_triphase", "tasmota_energy"])
def test_a_clock_that_is_set_back_changes_nothing_about_how_long_a_device_is_on(profile: str) -> None:
    skew = DeviceFault("clock_skew", NOON_US + 1_000_000, meter="m", parameters={"by_s": -3600})
    _, speaker, device = speaker_with(profile, skew)
    speaker.hello(speaker.clock_us(NOON_US, device))
    time_us = speaker.clock_us(NOON_US + 120_000_000, device)
    assert time_us < NOON_US
    if profile == "tasmota_energy":
        state = json.loads(speaker.beat(device, time_us)[0].payload)
        assert (state["UptimeSec"], state["Uptime"]) == (120, "0T00:02:00")
    else:
        request = {"id": 1, "src": "me", "method": "Shelly.GetStatus"}
        (answer,) = speaker.reply("pro3em/rpc", json.dumps(request).encode(), time_us)
        assert json.loads(answer.payload)["result"]["sys"]["uptime"] == 120


GONE_AND_BACK = {
    "shelly_gen2_triphase": ("pro3em/online", b"false", b"true", "pro3em/status/emdata:0"),
    "shelly_gen2_mono": ("pro3em/online", b"false", b"true", "pro3em/status/em1data:0"),
    "tasmota_energy": ("tele/tasmota/LWT", b"Offline", b"Online", "tele/tasmota/SENSOR"),
    "zigbee2mqtt_plug": (
        "zigbee2mqtt/plug/availability", b'{"state":"offline"}', b'{"state":"online"}', "zigbee2mqtt/plug",
    ),
}  # fmt: skip


@pytest.mark.parametrize("profile", DIALECTS)
def test_a_device_that_goes_and_comes_back_is_told_so_once_in_every_dialect(profile: str) -> None:
    topic, offline, online, values = GONE_AND_BACK[profile]
    _, speaker, device = speaker_with(profile)
    speaker.hello(NOON_US)
    assert speaker.notice(device, NOON_US) == []
    device.faults.faults = [LiveFault(1, DeviceFault("device_offline", NOON_US, meter="m"))]
    assert speaker.is_silent
    assert speaker.notice(device, NOON_US) == [Publication(topic, offline, qos=1, retain=True)]
    assert speaker.notice(device, NOON_US) == []
    device.faults.faults = []
    said = speaker.notice(device, HALF_PAST_US)
    assert Publication(topic, online, qos=1, retain=True) in said
    assert values in {each.topic for each in said}
    assert speaker.notice(device, HALF_PAST_US) == []


def time_told(profile: str, speaker: Speaker, device: MqttDevice, now_us: int) -> int:
    """Return the instant that a device's next message carries [us]."""
    said = speaker.beat(device, speaker.clock_us(now_us, device))
    documents = {each.topic: json.loads(each.payload) for each in said}
    if profile.startswith("shelly"):
        return round(float(documents["pro3em/events/rpc"]["params"]["ts"]) * 1e6)
    if profile == "tasmota_energy":
        local = datetime.fromisoformat(documents["tele/tasmota/SENSOR"]["Time"])
        return instant_us(local.replace(tzinfo=ZoneInfo("Asia/Shanghai")))
    return instant_us(datetime.fromisoformat(documents["zigbee2mqtt/plug"]["last_seen"]))


@pytest.mark.parametrize("profile", DIALECTS)
@pytest.mark.parametrize("by_s", [3600.0, -3600.0])
def test_a_clock_that_is_wrong_shows_in_the_times_of_every_dialect_and_in_no_value(profile: str, by_s: float) -> None:
    skew = DeviceFault("clock_skew", NOON_US, meter="m", parameters={"by_s": by_s})
    physics, speaker, device = speaker_with(profile, skew)
    assert time_told(profile, speaker, device, HALF_PAST_US) == HALF_PAST_US + by_s * 1e6
    true = physics.quantities("m", HALF_PAST_US)["energy_import_kwh"]
    assert said_of_energy(profile, speaker, device, HALF_PAST_US) == pytest.approx(true, abs=0.02)


@pytest.mark.parametrize("profile", DIALECTS)
def test_what_was_said_then_changes_nothing_that_is_said_now(profile: str) -> None:
    _, speaker, device = speaker_with(profile)
    _, other, twin = speaker_with(profile)
    for each, own in ((speaker, device), (other, twin)):
        each.hello(each.clock_us(NOON_US))
        each.beat(own, NOON_US)
    speaker.then(device, NOON_US - DAY_US)
    for at_us in (NOON_US + 1_000_000, NOON_US + 61_000_000):
        assert speaker.beat(device, at_us) == other.beat(twin, at_us)


@asynccontextmanager
async def simulated(profile: str, topic: str, broker: PrivateMosquitto) -> AsyncIterator[Simulator]:
    async with Simulator(plant_of(profile, topic, port=broker.port), profiles()) as simulator:
        async with asyncio.timeout(DEADLINE_S):
            yield simulator


def begin(simulator: Simulator, kind: str, **parameters: float | str) -> int:
    return simulator.faults.add(DeviceFault(kind, simulator.now_us(), meter="m", parameters=parameters))


async def heard(broker: PrivateMosquitto, topic: str, count: int) -> list[tuple[bool, bytes]]:
    """Return the next messages: whether each was retained, and its bytes."""
    program = await asyncio.create_subprocess_exec(
        broker.sub, "-p", str(broker.port), "-t", topic, "-q", "1", "-C", str(count), "-F", "%r %x",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(program.communicate(), DEADLINE_S)
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    lines = (line.split(" ", 1) for line in output.decode().splitlines())
    return [(retained == "1", base64.b16decode(rest.strip().upper())) for retained, rest in lines]


async def test_a_silent_device_answers_no_request_either(mosquitto: PrivateMosquitto) -> None:
    topic = f"tasmota-{uuid.uuid4().hex}"
    async with simulated("tasmota_energy", topic, mosquitto) as simulator:
        await until(lambda: simulator.published["m"] >= 1)
        number = begin(simulator, "silent")
        answers = asyncio.create_task(heard(mosquitto, f"stat/{topic}/#", 1))
        asked = 0
        while asked < 5:
            await ask(mosquitto, f"cmnd/{topic}/STATUS", "8")
            asked += 1
        await until(lambda: simulator.faults.list()[0].hits >= 3)
        assert not answers.done()
        simulator.faults.remove(number)
        while not answers.done():
            await ask(mosquitto, f"cmnd/{topic}/STATUS", "8")
        ((_, payload),) = answers.result()
        assert "StatusSNS" in json.loads(payload)


async def ask(broker: PrivateMosquitto, topic: str, payload: str) -> None:
    program = await asyncio.create_subprocess_exec(
        broker.pub, "-h", "127.0.0.1", "-p", str(broker.port), "-t", topic, "-m", payload, "-q", "1"
    )
    assert await program.wait() == 0


async def test_a_retained_old_message_is_left_by_a_shelly(mosquitto: PrivateMosquitto) -> None:
    topic = uuid.uuid4().hex
    async with simulated("shelly_gen2_triphase", topic, mosquitto) as simulator:
        begin(simulator, "retained_old", age_s=86_400)
        await until(lambda: simulator.faults.list()[0].hits == 1)
        ((_, now),) = await heard(mosquitto, f"{topic}/status/emdata:0", 1)
        old = json.loads(now)["total_act"] / 1000
        at_us = simulator.now_us() - DAY_US
        assert old == pytest.approx(simulator.truth.quantities("m", at_us)["energy_import_kwh"], abs=2)


def decoded(messages: list[tuple[bool, bytes]]) -> list[Any]:
    return [decode(payload) for _, payload in messages]


@asynccontextmanager
async def edge_node(broker: PrivateMosquitto) -> AsyncIterator[tuple[Simulator, str]]:
    group = uuid.uuid4().hex
    async with simulated("sparkplug_energy_meter", f"{group}/edge", broker) as simulator:
        yield simulator, f"spBv1.0/{group}/NDATA/edge"


async def test_lost_messages_of_an_edge_node_leave_gaps_in_its_sequence(mosquitto: PrivateMosquitto) -> None:
    async with edge_node(mosquitto) as (simulator, topic):
        number = begin(simulator, "lost_message", share=0.5)
        sequence = [each.sequence for each in decoded(await heard(mosquitto, topic, 6))]
        steps = [(after - before) % 256 for before, after in pairwise(sequence)]
        assert max(steps) > 1
        assert simulator.lost["m"] >= sum(steps) - 5
        simulator.faults.remove(number)
        begin(simulator, "duplicate_message")
        _, *messages = await heard(mosquitto, topic, 7)
        assert len({payload for _, payload in messages}) in {3, 4}


async def test_an_edge_node_may_be_out_of_order_malformed_or_wrong_about_the_time(mosquitto: PrivateMosquitto) -> None:
    async with edge_node(mosquitto) as (simulator, topic):
        number = begin(simulator, "reordered")
        await until(lambda: simulator.faults.list()[0].hits >= 1)
        sequence = [each.sequence for each in decoded(await heard(mosquitto, topic, 6))]
        assert any((after - before) % 256 > 127 for before, after in pairwise(sequence))
        simulator.faults.remove(number)
        number = begin(simulator, "malformed", payload="bad_utf8")
        await until(lambda: simulator.faults.list()[1].hits >= 1)
        *_, (_, poison) = await heard(mosquitto, topic, 2)
        assert poison == b'{"power": {"total_w": 1, "\xff\xfe": 2}}'
        simulator.faults.remove(number)
        begin(simulator, "clock_skew", by_s=-7200)
        *_, last = decoded(await heard(mosquitto, topic, 3))
        assert (last.time_ms or 0) * 1000 == pytest.approx(simulator.now_us() - 7.2e9, abs=60e6)


async def test_a_retained_old_message_is_left_by_an_edge_node(mosquitto: PrivateMosquitto) -> None:
    async with edge_node(mosquitto) as (simulator, topic):
        begin(simulator, "retained_old", age_s=1800)
        await until(lambda: simulator.faults.list()[0].hits == 1)
        await heard(mosquitto, topic, 2)
        (first, old), (then, _) = await heard(mosquitto, topic, 2)
        assert (first, then) == (True, False)
        assert (decode(old).time_ms or 0) * 1000 == pytest.approx(simulator.now_us() - 1.8e9, abs=60e6)
