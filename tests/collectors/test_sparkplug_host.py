"""From messages on topics to readings of meters; when edge nodes are asked for their births."""

from __future__ import annotations

import pytest

from collectors.sparkplug.host import Effect, Host, SparkplugMeter
from collectors.sparkplug.rebirth import NodeName, RebirthRequests
from collectors.sparkplug.state import says_offline, state_payload, state_topic
from collectors.sparkplug.tally import count, note_lives
from emsd.collector import MeterHealth, MeterState
from emsd.plant.profile import Profile
from emsd.quantities import RUN_STATE_CODES, RunState
from emsd.readings import Quality, Reading
from tests.collectors.sparkplug_support import INT32, ScriptedNode, meter_profile, metric, payload, power_meter
from tests.collectors.support import bound, profile

NOW_MS = 1_767_225_600_000
NOW_US = NOW_MS * 1000
DEVICE_TIME, REPLAYED = Quality.DEVICE_TIME, Quality.REPLAYED


def host_of(*topics: str) -> tuple[Host, list[SparkplugMeter]]:
    meters = [SparkplugMeter(power_meter(topic, 1_000_001 + at)) for at, topic in enumerate(topics)]
    return Host(meters), meters


def hear(host: Host, topic: str, data: bytes, *, repeated: bool = False) -> Effect:
    effect = host.receive(f"spBv1.0/{topic}", data, NOW_US, repeated=repeated)
    note_lives(effect)
    count(effect, NOW_US, 0.0)
    return effect


def readings(effect: Effect) -> list[Reading]:
    return [reading for share in effect.shares for reading in share.mapped.readings]


def state_of(meter: SparkplugMeter) -> MeterState:
    return meter.health.state


def consistent(health: MeterHealth) -> MeterHealth:
    polls = health.polls_ok + health.polls_partial + health.polls_failed + health.polls_skipped
    assert health.polls_expected == polls
    return health


def test_a_message_becomes_one_reading_for_each_time_in_it() -> None:
    host, _ = host_of("g/n/d")
    one = payload(
        metric(3.0, name="Power", time_ms=NOW_MS),
        metric(1.0, name="Power", time_ms=NOW_MS - 2000, historical=True),
        metric(50.0, name="Energy", time_ms=NOW_MS - 2000, historical=True),
        metric(2.0, name="Power", time_ms=NOW_MS - 1000, historical=True),
        metric(7.0, name="Unmapped", time_ms=NOW_MS - 500),
        metric(51.0, name="Energy"),
        time_ms=NOW_MS,
        seq=0,
    )
    found = readings(hear(host, "g/DDATA/n/d", one))
    assert [(each.time_us, dict(each.items()), each.quality) for each in found] == [
        (NOW_US - 2_000_000, {"active_power_kw": 1.0, "energy_import_kwh": 50.0}, DEVICE_TIME | REPLAYED),
        (NOW_US - 1_000_000, {"active_power_kw": 2.0}, DEVICE_TIME | REPLAYED),
        (NOW_US, {"active_power_kw": 3.0, "energy_import_kwh": 51.0}, DEVICE_TIME),
    ]
    assert {each.meter_id for each in found} == {1_000_001}


def test_a_birth_carries_values_too_and_columns_do_not_depend_on_the_order_of_metrics() -> None:
    host, (meter,) = host_of("g/n/d")
    script = ScriptedNode()
    hear(host, "g/NBIRTH/n", script.node_birth(NOW_MS))
    (birth,) = readings(hear(host, "g/DBIRTH/n/d", script.device_birth(NOW_MS, Energy=2.0, Power=1.0)))
    (data,) = readings(hear(host, "g/DDATA/n/d", script.data(NOW_MS + 1, Power=3.0, Energy=4.0)))
    assert dict(birth.items()) == {"active_power_kw": 1.0, "energy_import_kwh": 2.0}
    assert birth.columns is data.columns
    assert (meter.health.state, consistent(meter.health).polls_ok) == (MeterState.OK, 2)


def test_scale_offset_and_limits_apply_and_null_is_no_zero() -> None:
    values = [
        {"quantity": "active_power_kw", "metric": "P", "scale": -0.001},
        {"quantity": "energy_export_kwh", "metric": "E", "scale": 0.1, "add": 5},
        {"quantity": "frequency_hz", "metric": "F"},
        {"quantity": "dc_power_kw", "metric": "P", "scale": 0.001},
    ]
    document = meter_profile(active_power_kw="P").model_dump()
    made_of = Profile.model_validate(document | {"sparkplug": {"values": values}})
    meter = SparkplugMeter(bound(1_000_001, made_of, topic="g/n", rated_power_kw=80))
    host = Host([meter])
    metrics = (metric(40_000.0, name="P"), metric(100.0, name="E"), metric(None, name="F"))
    (reading,) = readings(hear(host, "g/NBIRTH/n", payload(*metrics, time_ms=NOW_MS, seq=0)))
    assert dict(reading.items()) == {
        "active_power_kw": -40.0, "energy_export_kwh": 15.0, "frequency_hz": None, "dc_power_kw": 40.0,
    }  # fmt: skip
    assert reading.quality == DEVICE_TIME | Quality.NOT_AVAILABLE
    wrong = (metric(200_000.0, name="P"), metric(float("inf"), name="F"))
    (reading,) = readings(hear(host, "g/NDATA/n", payload(*wrong, time_ms=NOW_MS, seq=1)))
    assert [value for _, value in reading.items()] == [None, None, None]
    assert reading.quality == DEVICE_TIME | Quality.IMPLAUSIBLE | Quality.NOT_AVAILABLE
    assert meter.health.values_rejected == 4


def test_run_states_are_mapped_and_others_are_not_available() -> None:
    values = [{"quantity": "run_state", "metric": "S", "states": {1: "off", 3: "loaded"}}]
    document = meter_profile(active_power_kw="P").model_dump()
    made_of = Profile.model_validate(document | {"sparkplug": {"values": values}})
    host = Host([SparkplugMeter(bound(1_000_001, made_of, topic="g/n"))])
    said = []
    for seq, state in enumerate((1.0, 3.0, 2.0)):
        data = payload(metric(state, name="S", datatype=INT32), time_ms=NOW_MS, seq=seq)
        (reading,) = readings(hear(host, "g/NDATA/n", data))
        said.append((reading.value("run_state"), reading.quality))
    off, loaded = RUN_STATE_CODES[RunState.OFF], RUN_STATE_CODES[RunState.LOADED]
    assert said == [(off, DEVICE_TIME), (loaded, DEVICE_TIME), (None, DEVICE_TIME | Quality.NOT_AVAILABLE)]


@pytest.mark.parametrize("time_ms", [0, 946_684_799_999, NOW_MS + 3_600_001])
def test_an_impossible_time_is_poison_and_the_rest_of_the_message_is_used(time_ms: int) -> None:
    host, (meter,) = host_of("g/n")
    metrics = (metric(1.0, name="Power", time_ms=time_ms), metric(2.0, name="Energy", time_ms=NOW_MS))
    effect = hear(host, "g/NDATA/n", payload(*metrics, time_ms=NOW_MS, seq=0))
    assert [dict(each.items()) for each in readings(effect)] == [{"energy_import_kwh": 2.0}]
    assert f"the time {time_ms} of metric 'Power'" in (effect.shares[0].mapped.problem or "")
    assert (consistent(meter.health).polls_partial, meter.health.errors["bad_payload"]) == (1, 1)


def test_a_metric_without_any_time_is_poison() -> None:
    host, _ = host_of("g/n")
    effect = hear(host, "g/NDATA/n", payload(metric(1.0, name="Power"), seq=0))
    assert not readings(effect)
    assert "no time" in (effect.shares[0].mapped.problem or "")


def test_what_the_broker_delivers_again_is_marked() -> None:
    host, _ = host_of("g/n")
    data = payload(metric(1.0, name="Power"), time_ms=NOW_MS, seq=0)
    (reading,) = readings(hear(host, "g/NDATA/n", data, repeated=True))
    assert reading.quality == DEVICE_TIME | REPLAYED


def test_a_node_and_its_devices_are_meters_of_their_own() -> None:
    host, meters = host_of("g/n", "g/n/d", "g/other/d", "h/n/d")
    assert (host.topics, len(host.nodes)) == (["spBv1.0/g/#", "spBv1.0/h/#"], 3)
    data = payload(metric(1.0, name="Power"), time_ms=NOW_MS, seq=0)
    for topic in ("g/NDATA/n", "g/DDATA/n/d", "g/DDATA/other/d", "h/DDATA/n/d"):
        hear(host, topic, data)
    assert [meter.health.polls_expected for meter in meters] == [1, 1, 1, 1]


def test_two_meters_of_different_profiles_may_share_a_device() -> None:
    first = SparkplugMeter(bound(1_000_001, meter_profile(active_power_kw="Feeder 1/Power"), topic="g/n/gateway"))
    second = SparkplugMeter(bound(1_000_002, meter_profile(active_power_kw="Feeder 2/Power"), topic="g/n/gateway"))
    host = Host([first, second])
    metrics = (metric(1.0, name="Feeder 1/Power"), metric(2.0, name="Feeder 2/Power"))
    found = readings(hear(host, "g/DDATA/n/gateway", payload(*metrics, time_ms=NOW_MS, seq=0)))
    assert [(each.meter_id, each.value("active_power_kw")) for each in found] == [(1_000_001, 1.0), (1_000_002, 2.0)]


@pytest.mark.parametrize(
    "topic",
    [
        "g/NCMD/n",
        "g/DCMD/n/d",
        "STATE/host",
        "g/NDATA/stranger",
        "g/NDATA/n/d",
        "g/DDATA/n",
        "g/XDATA/n",
        "a/b/c/d/e/f",
    ],
)
def test_other_topics_mean_nothing(topic: str) -> None:
    host, (meter,) = host_of("g/n")
    effect = hear(host, topic, payload(metric(1.0, name="Power"), time_ms=NOW_MS, seq=0))
    assert (effect.node, effect.needs_birth, effect.shares) == (None, False, [])
    assert meter.health.polls_expected == 0


def test_a_payload_that_cannot_be_read_is_poison_and_may_have_been_a_birth() -> None:
    host, (meter,) = host_of("g/n")
    script = ScriptedNode()
    hear(host, "g/NBIRTH/n", script.node_birth(NOW_MS, *script.birth_metrics(NOW_MS, Power=1.0)))
    effect = hear(host, "g/NDATA/n", b"{broken")
    assert "no Sparkplug B payload" in (effect.bad or "")
    assert effect.needs_birth
    after = hear(host, "g/NDATA/n", script.data(NOW_MS, Power=2.0))
    assert (readings(after), after.needs_birth) == ([], True)
    assert meter.health.errors == {"bad_payload": 1, "unknown_metric": 1}
    assert meter.health.state is MeterState.DEGRADED
    assert consistent(meter.health).polls_failed == 2


def test_deaths_take_down_whom_they_concern_and_births_bring_back() -> None:
    host, (node, device, sibling, stranger) = host_of("g/n", "g/n/d", "g/n/e", "g/other/d")
    script, other = ScriptedNode(session=3), ScriptedNode()

    def births() -> None:
        hear(host, "g/NBIRTH/n", script.node_birth(NOW_MS, *script.birth_metrics(NOW_MS, Power=1.0)))
        for name in ("d", "e"):
            hear(host, f"g/DBIRTH/n/{name}", script.device_birth(NOW_MS, Power=1.0))

    def states() -> list[MeterState]:
        return [meter.health.state for meter in (node, device, sibling, stranger)]

    births()
    hear(host, "g/NBIRTH/other", other.node_birth(NOW_MS))
    hear(host, "g/DBIRTH/other/d", other.device_birth(NOW_MS, Power=1.0))
    ok, down = MeterState.OK, MeterState.DOWN
    hear(host, "g/NDEATH/n", ScriptedNode(session=2).death())
    assert states() == [ok, ok, ok, ok]
    hear(host, "g/DDEATH/n/d", script.device_death(NOW_MS))
    assert states() == [ok, down, ok, ok]
    assert "DDEATH" in (device.health.last_error or "")
    hear(host, "g/NDEATH/n", script.death())
    assert states() == [down, down, down, ok]
    assert "edge node g/n is offline" in (node.health.last_error or "")
    script.session = 4
    births()
    assert states() == [ok, ok, ok, ok]


def test_a_device_is_not_known_to_live_until_it_is_born_after_its_node() -> None:
    host, (device,) = host_of("g/n/d")
    script = ScriptedNode()
    hear(host, "g/NBIRTH/n", script.node_birth(NOW_MS))
    hear(host, "g/DBIRTH/n/d", script.device_birth(NOW_MS, Power=1.0))
    assert hear(host, "g/NBIRTH/n", script.node_birth(NOW_MS + 1)).is_settled
    assert state_of(device) is MeterState.STARTING
    hear(host, "g/DBIRTH/n/d", script.device_birth(NOW_MS + 1, Power=1.0))
    assert state_of(device) is MeterState.OK


def test_after_a_lost_connection_no_alias_is_trusted() -> None:
    host, (meter,) = host_of("g/n/d")
    script = ScriptedNode()
    hear(host, "g/NBIRTH/n", script.node_birth(NOW_MS))
    hear(host, "g/DBIRTH/n/d", script.device_birth(NOW_MS, Power=1.0))
    host.forget()
    effect = hear(host, "g/DDATA/n/d", script.data(NOW_MS, Power=2.0))
    assert (readings(effect), effect.needs_birth) == ([], True)
    assert meter.health.errors == {"unknown_metric": 1}


@pytest.mark.parametrize("topic", [None, "g", "g/n/d/x", "g//d", "/n"])
def test_a_topic_that_is_no_edge_node_is_refused(topic: str | None) -> None:
    with pytest.raises(ValueError, match="needs a topic"):
        SparkplugMeter(bound(1, meter_profile(active_power_kw="P"), topic=topic))


def test_a_profile_without_sparkplug_map_is_refused() -> None:
    with pytest.raises(ValueError, match="sparkplug map"):
        SparkplugMeter(bound(1, profile("json_energy_meter"), topic="g/n"))


# Requests for births.

NODE, OTHER = NodeName("g", "n"), NodeName("g", "o")


def test_a_node_is_asked_at_once_and_then_no_sooner_than_an_interval_later() -> None:
    requests = RebirthRequests(10.0)
    assert (requests.next_due_s, requests.take(0.0)) == (None, None)
    requests.want(NODE, 100.0)
    assert (requests.next_due_s, requests.take(100.0)) == (100.0, NODE)
    requests.settled(NODE)
    requests.want(NODE, 103.0)
    assert (requests.take(109.9), requests.take(110.0)) == (None, NODE)


def test_a_node_that_does_not_answer_is_asked_less_and_less_often() -> None:
    requests = RebirthRequests(10.0)
    requests.want(NODE, 0.0)
    asked: list[float] = []
    while len(asked) < 8:
        due_s = requests.next_due_s
        assert due_s is not None
        assert requests.take(due_s) == NODE
        requests.want(NODE, due_s)  # its data still cannot be understood
        asked.append(due_s)
    assert asked == [0, 10, 30, 70, 150, 310, 610, 910]
    requests.settled(NODE)
    assert requests.next_due_s is None


def test_nodes_are_asked_independently_of_each_other() -> None:
    requests = RebirthRequests(10.0)
    requests.want(NODE, 0.0)
    assert requests.take(0.0) == NODE
    requests.want(OTHER, 1.0)
    assert (requests.take(1.0), requests.take(1.0), requests.next_due_s) == (OTHER, None, 10.0)


# What the host says of itself.


def test_the_state_of_the_host_is_as_specification_3_says() -> None:
    assert state_topic("emsd") == "spBv1.0/STATE/emsd"
    assert state_payload(NOW_MS, online=True) == b'{"online":true,"timestamp":1767225600000}'
    assert says_offline(state_payload(NOW_MS, online=False))
    assert not says_offline(state_payload(NOW_MS, online=True))
    assert not any(says_offline(data) for data in (b"", b"OFFLINE", b"[]", b"\xff", b"{}"))
