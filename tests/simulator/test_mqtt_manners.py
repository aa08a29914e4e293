"""Shelly, Tasmota, Zigbee2MQTT and plain devices as they are on a broker, heard and asked by Mosquitto's clients."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from emsd.errors import ConfigurationError
from emsd.plant.models import Area, Asset, AssetKind, Meter, Plant, Site
from emsd.plant.mqtt_connection import MqttConnection
from emsd.readings import instant_us
from emsd.servers import PrivateMosquitto
from simulator import SimulatedPlant, Simulator
from simulator.history import readable_series
from simulator.mqtt_devices import speakers_of
from simulator.mqtt_speaker import MqttDevice, Publication, Speaker
from tests.collectors.mqtt_support import pub
from tests.simulator.test_mqtt_publisher import listen, until
from tests.simulator.transports import NOON_US, profiles

ANCHOR = datetime(2026, 6, 1, tzinfo=UTC)
MINUTE_US = 60_000_000


def plant_of(*meters: tuple[str, str], port: int = 1883, kind: AssetKind = AssetKind.PROCESS_TOOL, **tls: Any) -> Plant:
    """A plant with meters of (profile, topic); the key of a meter is its place."""
    return Plant(
        site=Site(name="Hall", time_zone="Asia/Shanghai", carbon_region="CN"),
        areas=(Area(key="hall", name="Hall"),),
        assets=(Asset(key="line", name="Line", kind=kind, area="hall", rated_power_kw=80),),
        connections=(MqttConnection.model_validate({"key": "broker", "host": "127.0.0.1", "port": port, **tls}),),
        meters=tuple(
            Meter(
                key=f"m{place}", name=name, asset="line", profile=name, connection="broker", topic=topic,
                poll_interval_s=0.2, rated_power_kw=80,
            )
            for place, (name, topic) in enumerate(meters)
        ),
    )  # fmt: skip


def only(*meters: tuple[str, str], kind: AssetKind = AssetKind.PROCESS_TOOL) -> tuple[SimulatedPlant, Speaker]:
    """Return physics, and the one that speaks for all of these meters."""
    plant = plant_of(*meters, kind=kind)
    physics = SimulatedPlant(plant, profiles(), 1, anchor=ANCHOR)
    layouts = [(meter, physics.profile_of(meter.key).mqtt) for meter in plant.meters]
    devices = [MqttDevice(meter, layout) for meter, layout in layouts if layout is not None]
    (speaker,) = speakers_of(devices, physics)
    return physics, speaker


def by_topic(said: list[Publication]) -> dict[str, Any]:
    return {each.topic: json.loads(each.payload) for each in said}


# Shelly


def test_a_shelly_tells_every_component_when_it_is_connected() -> None:
    physics, shelly = only(("shelly_gen2_triphase", "pro3em"))
    said = shelly.hello(NOON_US)
    assert said[0] == Publication("pro3em/online", b"true", qos=1, retain=True)
    assert shelly.will == Publication("pro3em/online", b"false", qos=1, retain=True)
    status = by_topic(said)
    em, emdata = status["pro3em/status/em:0"], status["pro3em/status/emdata:0"]
    true = physics.quantities("m0", NOON_US)
    assert em["total_act_power"] == pytest.approx(1000 * true["active_power_kw"], abs=0.001)
    assert [em[f"{phase}_act_power"] for phase in "abc"] == pytest.approx(
        [1000 * true[f"active_power_l{line}_kw"] for line in (1, 2, 3)], abs=0.06
    )
    for phase in "abc":
        assert em[f"{phase}_aprt_power"] == pytest.approx(em[f"{phase}_voltage"] * em[f"{phase}_current"], rel=0.001)
        assert em[f"{phase}_act_power"] / em[f"{phase}_aprt_power"] == pytest.approx(em[f"{phase}_pf"], abs=0.006)
    assert em["total_current"] == pytest.approx(sum(em[f"{phase}_current"] for phase in "abc"), abs=0.002)
    assert emdata["total_act"] == pytest.approx(int(100_000 * true["energy_import_kwh"]) / 100)
    assert emdata["total_act_ret"] == 0
    phases = [emdata[f"{phase}_total_act_energy"] for phase in "abc"]
    assert sum(phases) == pytest.approx(emdata["total_act"], abs=0.03)


def test_a_shelly_is_silent_until_a_power_has_moved_or_the_minute_is_full() -> None:
    _, shelly = only(("shelly_gen2_triphase", "pro3em"))
    device = shelly.devices[0]
    began = NOON_US - NOON_US % MINUTE_US + 1_000_000
    shelly.hello(began)
    assert shelly.beat(device, began) == []
    told = [shelly.beat(device, began + second * 1_000_000) for second in range(1, 59)]
    assert all({each.topic for each in said} <= {"pro3em/status/em:0", "pro3em/events/rpc"} for said in told)
    full = began + MINUTE_US
    said = shelly.beat(device, full + 123_456)
    assert [each.topic for each in said] == [
        "pro3em/status/em:0", "pro3em/events/rpc", "pro3em/status/emdata:0", "pro3em/events/rpc", "pro3em/events/rpc",
    ]  # fmt: skip
    power, energy, record = (json.loads(said[place].payload) for place in (1, 3, 4))
    assert power["method"] == energy["method"] == "NotifyStatus"
    assert power["params"]["ts"] == (full + 120_000) / 1e6  # two decimals, and its values are those of that instant
    assert energy["params"]["emdata:0"] == json.loads(said[2].payload)
    assert record["method"] == "NotifyEvent"
    (event,) = record["params"]["events"]
    assert (event["component"], event["event"], event["data"]["period"]) == ("emdata:0", "data", 60)
    assert event["ts"] * 1_000_000 == full - full % MINUTE_US - MINUTE_US
    (values,) = event["data"]["values"]
    assert len(values) == 3 * 16 + 3


def test_the_record_of_a_shellys_minute_is_what_its_counters_did_in_it() -> None:
    physics, shelly = only(("shelly_gen2_triphase", "pro3em"))
    full = NOON_US - NOON_US % MINUTE_US
    shelly.hello(full - 1_000_000)
    shelly.beat(shelly.devices[0], full - 1_000_000)
    (values,) = json.loads(shelly.beat(shelly.devices[0], full)[-1].payload)["params"]["events"][0]["data"]["values"]
    true = physics.true_energy_kwh("m0", full - MINUTE_US, full)
    assert sum(values[16 * phase] for phase in range(3)) == pytest.approx(1000 * true.import_kwh, abs=0.001)
    assert sum(values[16 * phase + 2] for phase in range(3)) == pytest.approx(1000 * true.export_kwh, abs=0.001)
    largest, smallest, mean = values[10:13]
    assert smallest <= mean <= largest


def test_the_channels_of_a_monophase_shelly_are_one_device() -> None:
    physics, shelly = only(*(("shelly_gen2_mono", f"trio/{channel}") for channel in range(3)))
    status = by_topic(shelly.hello(NOON_US)[1:])
    assert set(status) == {f"trio/status/{name}:{channel}" for name in ("em1", "em1data") for channel in range(3)}
    for channel in range(3):
        true = physics.quantities(f"m{channel}", NOON_US)
        component = status[f"trio/status/em1:{channel}"]
        assert component["id"] == channel
        assert component["act_power"] == pytest.approx(1000 * true["active_power_kw"], abs=0.06)
        counted = status[f"trio/status/em1data:{channel}"]["total_act_energy"]
        assert counted == pytest.approx(int(100_000 * true["energy_import_kwh"]) / 100)


def test_a_generators_shelly_returns_energy_at_negative_power_and_a_power_factor_without_sign() -> None:
    physics, shelly = only(("shelly_gen2_triphase", "pv"), kind=AssetKind.PV_INVERTER)
    status = by_topic(shelly.hello(NOON_US)[1:])
    true = physics.quantities("m0", NOON_US)
    assert status["pv/status/em:0"]["total_act_power"] < 0 < status["pv/status/em:0"]["a_pf"]
    assert status["pv/status/emdata:0"]["total_act_ret"] == pytest.approx(int(1e5 * true["energy_export_kwh"]) / 100)


@pytest.mark.parametrize(
    ("method", "params", "expected"),
    [
        ("EM.GetStatus", {"id": 0}, {"id": 0}),
        ("EMData.GetStatus", {"id": 0}, {"id": 0, "total_act_ret": 0}),
        ("Shelly.GetDeviceInfo", None, {"gen": 2, "profile": "triphase"}),
        ("Shelly.GetStatus", None, {"mqtt": {"connected": True}}),
    ],
)
def test_a_shelly_answers_requests_where_they_came_from(method: str, params: Any, expected: dict[str, Any]) -> None:
    _, shelly = only(("shelly_gen2_triphase", "pro3em"))
    request = {"id": 5, "src": "me/here", "method": method, "params": params}
    (answer,) = shelly.reply("pro3em/rpc", json.dumps(request).encode(), NOON_US)
    assert answer.topic == "me/here/rpc"
    frame = json.loads(answer.payload)
    assert (frame["id"], frame["dst"]) == (5, "me/here")
    assert frame["result"].items() >= expected.items()


@pytest.mark.parametrize(("method", "params", "code"), [
    ("EM.GetStatus", {"id": 3}, -105), ("EM.GetStatus", {}, -103), ("EM.GetStatus", None, -103),
    ("EM1.GetStatus", {"id": 0}, 404), ("Switch.Set", {}, 404), ("nonsense", 7, 404),
])  # fmt: skip
def test_a_shelly_says_what_is_wrong_with_a_request(method: str, params: Any, code: int) -> None:
    _, shelly = only(("shelly_gen2_triphase", "pro3em"))
    request = {"id": "x", "src": "me", "method": method, "params": params}
    (answer,) = shelly.reply("pro3em/rpc", json.dumps(request).encode(), NOON_US)
    assert json.loads(answer.payload)["error"]["code"] == code


def test_what_is_no_request_is_not_answered_and_a_status_update_may_be_commanded() -> None:
    _, shelly = only(("shelly_gen2_triphase", "pro3em"))
    unasked = [b"", b"\xff", b"[]", b"7", b"[" * 100_000, b'{"id": 1, "method": "EM.GetStatus"}']
    no_topics = ("", 7, None, "me/#", "+/me", "a\0", "\ud800", "m" * 65_532)
    unasked += [json.dumps({"id": 1, "src": each, "method": "EM.GetStatus"}).encode() for each in no_topics]
    for payload in unasked:
        assert shelly.reply("pro3em/rpc", payload, NOON_US) == []
    assert shelly.reply("pro3em/command", b"else", NOON_US) == []
    said = shelly.reply("pro3em/command", b"status_update", NOON_US)
    assert [each.topic for each in said] == ["pro3em/status/em:0", "pro3em/status/emdata:0"]


# Tasmota


def test_a_tasmota_meter_tells_its_state_and_its_energy_in_local_time() -> None:
    physics, tasmota = only(("tasmota_energy", "board"))
    at = NOON_US + 700_000
    said = tasmota.hello(at)
    assert said[0] == Publication("tele/board/LWT", b"Online", qos=1, retain=True)
    assert tasmota.will == Publication("tele/board/LWT", b"Offline", qos=1, retain=True)
    names = [each.topic.rpartition("/")[2] for each in said]
    assert names == ["LWT", "INFO1", "INFO2", "INFO3", "STATE", "SENSOR"]
    state, sensor = (json.loads(each.payload) for each in said[-2:])
    local = datetime.fromisoformat(sensor["Time"]).replace(tzinfo=ZoneInfo("Asia/Shanghai"))
    assert instant_us(local) == NOON_US == at - 700_000
    assert (state["Time"], state["Uptime"]) == (sensor["Time"], "0T00:00:00")
    true, energy = physics.quantities("m0", NOON_US), sensor["ENERGY"]
    assert energy["Total"] == pytest.approx(int(1000 * true["energy_import_kwh"]) / 1000)
    assert energy["Power"] == [round(1000 * true[f"active_power_l{line}_kw"]) for line in (1, 2, 3)]
    assert sum(energy["ReactivePower"]) == pytest.approx(1000 * true["reactive_power_kvar"], abs=2)
    assert energy["Voltage"] == [round(true[f"voltage_l{line}_n_v"]) for line in (1, 2, 3)]
    midnight = instant_us(datetime(2026, 6, 3, tzinfo=ZoneInfo("Asia/Shanghai")))
    today = physics.true_energy_kwh("m0", midnight, NOON_US).import_kwh
    yesterday = physics.true_energy_kwh("m0", midnight - 24 * 60 * MINUTE_US, midnight).import_kwh
    assert [energy["Today"], energy["Yesterday"]] == pytest.approx([today, yesterday], abs=0.001)
    assert "ExportActive" not in energy
    later = json.loads(tasmota.beat(tasmota.devices[0], at + 90_061_000_000)[0].payload)
    assert (later["Uptime"], later["UptimeSec"]) == ("1T01:01:01", 90_061)


def test_a_bidirectional_tasmota_meter_counts_both_directions() -> None:
    physics, tasmota = only(("tasmota_energy_bidirectional", "grid"), kind=AssetKind.PV_INVERTER)
    energy = json.loads(tasmota.beat(tasmota.devices[0], NOON_US)[1].payload)["ENERGY"]
    exported = physics.quantities("m0", NOON_US)["energy_export_kwh"]
    assert energy["ExportActive"] == pytest.approx(int(1000 * exported) / 1000)
    assert sum(energy["Power"]) < 0


def test_a_tasmota_meter_answers_status_and_knows_no_other_command() -> None:
    _, tasmota = only(("tasmota_energy", "board"))
    (answer,) = tasmota.reply("cmnd/board/STATUS", b"8", NOON_US)
    assert answer.topic == "stat/board/STATUS8"
    assert json.loads(answer.payload)["StatusSNS"] == json.loads(tasmota.beat(tasmota.devices[0], NOON_US)[1].payload)
    (answer,) = tasmota.reply("cmnd/board/status", b" 11 ", NOON_US)
    assert answer.topic == "stat/board/STATUS11"
    (answer,) = tasmota.reply("cmnd/board/Dance", b"", NOON_US)
    assert (answer.topic, answer.payload) == ("stat/board/RESULT", b'{"Command":"Unknown"}')


# Zigbee2MQTT


def test_a_zigbee_bridge_tells_whom_it_knows_and_a_plug_only_what_has_changed() -> None:
    physics, bridge = only(("zigbee2mqtt_plug", "hall 1/plug"), ("zigbee2mqtt_plug", "press"))
    said = by_topic(bridge.hello(NOON_US))
    assert said["zigbee2mqtt/bridge/state"] == said["zigbee2mqtt/press/availability"] == {"state": "online"}
    assert [each["friendly_name"] for each in said["zigbee2mqtt/bridge/devices"]] == ["hall 1/plug", "press"]
    assert len({each["ieee_address"] for each in said["zigbee2mqtt/bridge/devices"]}) == 2
    plug, true = said["zigbee2mqtt/hall 1/plug"], physics.quantities("m0", NOON_US)
    assert plug["last_seen"] == "2026-06-03T05:00:00.000Z"
    assert plug["power"] == pytest.approx(1000 * true["active_power_kw"], abs=0.06)
    assert plug["energy"] == pytest.approx(int(100 * true["energy_import_kwh"]) / 100)
    assert plug["state"] == "ON"
    retained = {each.topic for each in bridge.hello(NOON_US) if each.retain}
    assert "zigbee2mqtt/hall 1/plug" not in retained
    assert bridge.beat(bridge.devices[0], NOON_US) == []
    (changed,) = bridge.beat(bridge.devices[0], NOON_US + 5 * MINUTE_US)
    assert json.loads(changed.payload)["last_seen"] == "2026-06-03T05:05:00.000Z"
    (asked,) = bridge.reply("zigbee2mqtt/press/get", b'{"state": ""}', NOON_US)
    assert asked.topic == "zigbee2mqtt/press"


# What is common to all


@pytest.mark.parametrize(
    ("profile", "topic", "own"),
    [
        ("shelly_gen2_triphase", "sim/tri", {"energy_import_kwh": ("sim/tri/status/emdata:0", "total_act", 1e-3)}),
        ("shelly_gen2_mono", "sim/mono/1", {"power_factor": ("sim/mono/status/em1:1", "pf", 1.0)}),
        ("tasmota_energy", "board", {"energy_import_kwh": ("tele/board/SENSOR", "ENERGY.Total", 1.0)}),
        ("zigbee2mqtt_plug", "plug", {"energy_import_kwh": ("zigbee2mqtt/plug", "energy", 1.0),
                                      "current_l1_a": ("zigbee2mqtt/plug", "current", 1.0)}),
    ],
)  # fmt: skip
def test_history_and_messages_of_a_device_show_the_same(profile: str, topic: str, own: dict[str, Any]) -> None:
    physics, speaker = only((profile, topic), kind=AssetKind.PV_INVERTER if "mono" in profile else AssetKind.PUMP)
    said = {each.topic: each.payload for each in speaker.hello(NOON_US)}
    history = readable_series(physics, "m0", np.array([NOON_US], dtype=np.int64))
    for quantity, (where, path, factor) in own.items():
        found = json.loads(said[where])
        for key in path.split("."):
            found = found[key]
        assert history[quantity][0] == pytest.approx(found * factor, abs=1e-9)


async def test_devices_on_a_broker_are_retained_as_online_answer_and_take_their_leave(
    mosquitto: PrivateMosquitto,
) -> None:
    run = uuid.uuid4().hex
    meters = (
        ("shelly_gen2_triphase", f"{run}/tri"), ("tasmota_energy", f"{run}-board"), ("zigbee2mqtt_plug", f"{run}/plug"),
        ("mqtt_value_per_topic", f"{run}/press"), ("json_energy_meter", f"{run}/json"),
    )  # fmt: skip
    presence = {
        f"{run}/tri/online": ("true", "false"), f"tele/{run}-board/LWT": ("Online", "Offline"),
        "zigbee2mqtt/bridge/state": ('{"state":"online"}', '{"state":"offline"}'),
        f"{run}/press/online": ("online", "offline"),
    }  # fmt: skip

    async def retained() -> dict[str, str]:
        found: dict[str, str] = {}
        for topic in presence:
            (line,) = await listen(mosquitto, topic, 1)
            _, qos, is_retained, found[topic] = line.split(" ", 3)
            assert (qos, is_retained) == ("1", "1")
        return found

    async with Simulator(plant_of(*meters, port=mosquitto.port), profiles()) as simulator:
        publisher = simulator.publishers["broker"]
        await until(lambda: publisher.connected)
        await until(lambda: simulator.published["m3"] >= 1)
        assert await retained() == {topic: words[0] for topic, words in presence.items()}
        hearing = asyncio.create_task(listen(mosquitto, f"{run}/me/rpc", 1))
        request = {"id": 1, "src": f"{run}/me", "method": "EM.GetStatus", "params": {"id": 0}}

        async def ask() -> None:
            await pub(mosquitto, f"{run}/tri/rpc", json.dumps(request | {"src": f"{run}/#"}))  # harms nobody
            while not hearing.done():
                await pub(mosquitto, f"{run}/tri/rpc", json.dumps(request))

        asking = asyncio.create_task(ask())
        (line,) = await hearing
        await asking
        assert json.loads(line.split(" ", 3)[3])["result"]["id"] == 0
        (value,) = await listen(mosquitto, f"{run}/press/active_power_kw", 1)
        assert float(value.split(" ")[3]) > 0
    assert await retained() == {topic: words[1] for topic, words in presence.items()}


async def test_a_broker_whose_certificates_cannot_be_used_is_refused_before_anything_runs() -> None:
    plant = plant_of(("json_energy_meter", "a"), tls={"ca_file": "nowhere.pem"})
    with pytest.raises(ConfigurationError, match="connection broker cannot use its certificates"):
        Simulator(plant, profiles())
