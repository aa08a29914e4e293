"""JSON messages become readings, or BadPayload with a reason, and nothing else."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.mqtt.mapping import JsonMapping
from collectors.mqtt.meter import layout_of
from collectors.mqtt.paths import parse_path
from emsd.collector import BoundMeter
from emsd.errors import BadPayload
from emsd.plant.mqtt_map import MqttMap
from emsd.plant.profile import Profile
from emsd.quantities import RUN_STATE_CODES, RunState
from emsd.readings import Quality
from tests.collectors.support import bound, profile

RECEIVED_US = 1_774_750_000_500_000
RECEIVED_ISO = "2026-03-29T02:06:40.500Z"


def mapping_of(values: list[dict[str, Any]], *, zone: str | None = None, **mqtt: object) -> JsonMapping:
    made_of = Profile.model_validate(
        {
            "profile": "made_up",
            "kind": "generic",
            "manufacturer": "none",
            "model": "none",
            "source": ["a test"],
            "mqtt": {"values": values, **mqtt},
        }
    )
    return single(bound(1, made_of, topic="t", rated_power_kw=100, time_zone=zone))


def single(meter: BoundMeter) -> JsonMapping:
    """The mapping of a meter with one kind of message."""
    (kind,) = layout_of(meter).kinds
    return JsonMapping(meter, kind)


def read(mapping: JsonMapping, document: object, **flags: bool) -> dict[str, float | None]:
    reading = mapping.read(orjson.dumps(document), RECEIVED_US, **flags).reading
    assert reading is not None
    return dict(reading.items())


POWER = {"quantity": "active_power_kw", "path": "power", "scale": 0.001}
TS = {"path": "ts", "format": "iso8601"}


def test_the_documented_message_of_the_energy_meter_is_understood() -> None:
    meter = single(bound(9, profile("json_energy_meter"), topic="t", rated_power_kw=80))
    message = b"""{"ts": "2026-03-29T01:00:00.250Z",
        "power": {"total_w": 1234.5, "l1_w": 400.0, "l2_w": 410.5, "l3_w": 424.0, "reactive_var": 210.0,
                  "apparent_va": 1252.0, "factor": 0.986},
        "energy": {"import_wh": 123456789, "export_wh": 0},
        "voltage_v": {"l1": 230.1, "l2": 229.8, "l3": 230.4}, "current_a": {"l1": 1.8, "l2": 1.7, "l3": 1.9},
        "frequency_hz": 50.01}"""
    mapped = meter.read(message, RECEIVED_US)
    assert mapped.reading is not None
    assert mapped.rejected == 0
    assert mapped.reading.time.isoformat() == "2026-03-29T01:00:00.250000+00:00"
    assert mapped.reading.meter_id == 9
    assert mapped.reading.quality == Quality.DEVICE_TIME
    assert dict(mapped.reading.items()) == {
        "active_power_kw": pytest.approx(1.2345),
        "active_power_l1_kw": 0.4,
        "active_power_l2_kw": pytest.approx(0.4105),
        "active_power_l3_kw": pytest.approx(0.424),
        "reactive_power_kvar": 0.21,
        "apparent_power_kva": pytest.approx(1.252),
        "power_factor": 0.986,
        "energy_import_kwh": pytest.approx(123_456.789),
        "energy_export_kwh": 0.0,
        "voltage_l1_n_v": 230.1,
        "voltage_l2_n_v": 229.8,
        "voltage_l3_n_v": 230.4,
        "current_l1_a": 1.8,
        "current_l2_a": 1.7,
        "current_l3_a": 1.9,
        "frequency_hz": 50.01,
    }


def test_the_documented_message_of_the_climate_sensor_is_understood() -> None:
    sensor = single(bound(9, profile("json_climate_sensor"), topic="t"))
    values = read(sensor, {"ts": RECEIVED_ISO, "temperature_c": 21.4, "rh_percent": 44.8, "pressure_pa": 15.2})
    assert values == {"room_temperature_c": 21.4, "relative_humidity_percent": 44.8, "room_pressure_pa": 15.2}


@pytest.mark.parametrize(
    ("form", "written", "time_us"),
    [
        ("iso8601", "2026-03-29T02:06:40Z", 1_774_750_000_000_000),
        ("iso8601", "2026-03-29T10:06:40.000001+08:00", 1_774_750_000_000_001),
        ("epoch_s", 1_774_750_000, 1_774_750_000_000_000),
        ("epoch_s", 1_774_750_000.25, 1_774_750_000_250_000),
        ("epoch_ms", 1_774_750_000_123, 1_774_750_000_123_000),
        ("epoch_us", 1_774_750_000_123_457, 1_774_750_000_123_457),
    ],
)
def test_a_device_time_is_exact_to_the_microsecond_in_every_format(form: str, written: object, time_us: int) -> None:
    mapping = mapping_of([POWER], time={"path": "at.ts", "format": form})
    reading = mapping.read(orjson.dumps({"at": {"ts": written}, "power": 1}), RECEIVED_US).reading
    assert reading is not None
    assert (reading.time_us, reading.quality) == (time_us, Quality.DEVICE_TIME)


@pytest.mark.parametrize(
    ("form", "written", "said"),
    [
        ("iso8601", "2026-03-29T02:06:40", "no time zone"),
        ("iso8601", "yesterday", "not an ISO 8601 time"),
        ("iso8601", 1_774_750_000, "not an ISO 8601 time"),
        ("epoch_s", "1774750000", "not a number"),
        ("epoch_s", True, "not a number"),
        ("epoch_s", 1e300, "an hour ahead"),
        ("epoch_s", 0, "before 2000"),
        ("epoch_s", 1_774_750_000 + 2 * 3600, "an hour ahead"),
        ("epoch_ms", [1], "not a number"),
    ],
)
def test_an_impossible_device_time_is_a_bad_payload(form: str, written: object, said: str) -> None:
    mapping = mapping_of([POWER], time={"path": "ts", "format": form})
    with pytest.raises(BadPayload, match=said):
        mapping.read(orjson.dumps({"ts": written, "power": 1}), RECEIVED_US)


def test_without_a_time_of_its_own_the_arrival_counts() -> None:
    for mapping in (mapping_of([POWER]), mapping_of([POWER], time=TS)):
        reading = mapping.read(b'{"power": 5000}', RECEIVED_US).reading
        assert reading is not None
        assert (reading.time_us, reading.quality) == (RECEIVED_US, Quality.GOOD)


def test_a_retained_message_keeps_its_own_time_and_without_one_tells_nothing_new() -> None:
    mapping = mapping_of([POWER], time=TS)
    reading = mapping.read(b'{"ts": "2026-03-28T00:00:00Z", "power": 1}', RECEIVED_US, retained=True).reading
    assert reading is not None
    assert reading.quality == Quality.DEVICE_TIME | Quality.REPLAYED
    assert reading.time.isoformat() == "2026-03-28T00:00:00+00:00"
    assert mapping.read(b'{"power": 1}', RECEIVED_US, retained=True).reading is None


def test_a_message_delivered_again_keeps_its_own_time_and_without_one_is_refused() -> None:
    mapping = mapping_of([POWER], time=TS)
    reading = mapping.read(b'{"ts": "2026-03-29T02:00:00Z", "power": 1}', RECEIVED_US, repeated=True).reading
    assert reading is not None
    assert reading.quality == Quality.DEVICE_TIME | Quality.REPLAYED
    with pytest.raises(BadPayload, match="its time is unknown"):
        mapping.read(b'{"power": 1}', RECEIVED_US, repeated=True)


def test_a_value_that_is_not_in_the_message_is_absent_and_a_null_is_not_available() -> None:
    mapping = mapping_of([POWER, {"quantity": "current_n_a", "path": "n"}, {"quantity": "frequency_hz", "path": "f"}])
    mapped = mapping.read(b'{"power": 5000, "n": null}', RECEIVED_US)
    assert mapped.reading is not None
    assert dict(mapped.reading.items()) == {"active_power_kw": 5.0, "current_n_a": None}
    assert mapped.reading.quality == Quality.NOT_AVAILABLE
    assert mapped.rejected == 1


@pytest.mark.parametrize("odd", [True, False, "50.0", "", {}, [50.0], {"value": 50.0}])
def test_what_is_not_a_number_is_never_taken_for_one(odd: object) -> None:
    mapping = mapping_of([POWER, {"quantity": "frequency_hz", "path": "f"}])
    mapped = mapping.read(orjson.dumps({"power": 1000, "f": odd}), RECEIVED_US)
    assert mapped.reading is not None
    assert dict(mapped.reading.items()) == {"active_power_kw": 1.0, "frequency_hz": None}
    assert (mapped.reading.quality, mapped.rejected) == (Quality.NOT_AVAILABLE, 1)


def test_an_implausible_value_becomes_none() -> None:
    mapping = mapping_of([POWER, {"quantity": "frequency_hz", "path": "f"}])
    mapped = mapping.read(b'{"power": 125001, "f": 50}', RECEIVED_US)
    assert mapped.reading is not None
    assert mapped.reading.value("active_power_kw") is None
    assert mapped.reading.quality == Quality.IMPLAUSIBLE


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not json",
        b'{"power": NaN}',
        b'{"power": Infinity}',
        b'{"power": 1',
        b"\xff\xfe",
        b"[]",
        b"3",
        b"null",
        b'{"other": 1}',
        b'{"power": "1"}',
        b'{"power": 1e12}',
        b"[" * 5000,
    ],
)
def test_a_message_without_any_value_is_a_bad_payload(payload: bytes) -> None:
    with pytest.raises(BadPayload):
        mapping_of([POWER]).read(payload, RECEIVED_US)


def test_a_message_that_says_only_null_is_a_reading_without_values() -> None:
    assert read(mapping_of([POWER]), {"power": None}) == {"active_power_kw": None}


def test_a_required_value_that_is_lacking_refuses_the_message() -> None:
    mapping = mapping_of([POWER, {"quantity": "frequency_hz", "path": "f.hz", "required": True}])
    with pytest.raises(BadPayload, match=r"lacks f\.hz"):
        mapping.read(b'{"power": 1}', RECEIVED_US)


def test_lists_are_indexed_or_added() -> None:
    document = {"ENERGY": {"Power": [100.5, -30.5, 30.0]}, "phases": [{"i": 1.5}, {"i": 2.5}], "grid": [[1, 2], [3]]}
    mapping = mapping_of(
        [
            {"quantity": "active_power_kw", "path": "ENERGY.Power[*]", "scale": 0.001},
            {"quantity": "active_power_l2_kw", "path": "ENERGY.Power[1]", "scale": 0.001},
            {"quantity": "current_l1_a", "path": "phases[*].i"},
            {"quantity": "current_l2_a", "path": "phases[1].i"},
            {"quantity": "current_l3_a", "path": "phases[2].i"},
            {"quantity": "current_n_a", "path": "grid[*][*]"},
        ]
    )
    assert read(mapping, document) == {
        "active_power_kw": 0.1,
        "active_power_l2_kw": -0.0305,
        "current_l1_a": 4.0,
        "current_l2_a": 2.5,
        "current_n_a": 6.0,
    }


def test_a_sum_with_a_part_that_is_no_number_is_no_value() -> None:
    mapping = mapping_of([{"quantity": "active_power_kw", "path": "p[*]"}, {"quantity": "frequency_hz", "path": "f"}])
    assert read(mapping, {"p": [1, None, 2], "f": 50}) == {"active_power_kw": None, "frequency_hz": 50.0}
    assert read(mapping, {"p": [], "f": 50}) == {"frequency_hz": 50.0}


@pytest.mark.parametrize("path", ["", ".", ".a", "a..b", "a[", "a[x]", "a[-1]", "a]", "a."])
def test_a_path_that_cannot_be_followed_is_refused_at_the_start(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        parse_path(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["ts", "power", "total_w", "energy", "p", "import_wh", "l1"]), inner)
    ),
    max_leaves=12,
)
FUZZED = (
    single(bound(1, profile("json_energy_meter"), topic="t")),
    mapping_of(
        [POWER, {"quantity": "energy_import_kwh", "path": "p[*].p[*]"}], time={"path": "ts", "format": "epoch_s"}
    ),
)


@given(st.binary(max_size=200) | JSON.map(orjson.dumps), st.booleans(), st.booleans())
def test_no_message_raises_anything_but_bad_payload(payload: bytes, retained: bool, repeated: bool) -> None:
    for mapping in FUZZED:
        with contextlib.suppress(BadPayload):
            mapped = mapping.read(payload, RECEIVED_US, retained=retained, repeated=repeated)
            if mapped.reading is not None:
                assert len(mapped.reading.values) == len(mapped.reading.columns)
                assert all(value is None or abs(value) < 1e15 for value in mapped.reading.values)


def test_what_stands_where_a_list_is_expected_counts_as_a_list_of_it_alone() -> None:
    mapping = mapping_of(
        [
            {"quantity": "active_power_kw", "path": "E.P[*]", "scale": 0.001},
            {"quantity": "active_power_l1_kw", "path": "E.P[0]", "scale": 0.001},
            {"quantity": "active_power_l2_kw", "path": "E.P[1]", "scale": 0.001},
            {"quantity": "energy_import_kwh", "path": "meters[*].kwh"},
        ]
    )
    assert read(mapping, {"E": {"P": 5000}, "meters": {"kwh": 7}}) == {
        "active_power_kw": 5.0,
        "active_power_l1_kw": 5.0,
        "energy_import_kwh": 7.0,
    }
    assert read(mapping, {"E": {"P": [5000, -1000]}, "meters": [{"kwh": 7}, {"kwh": 8}]}) == {
        "active_power_kw": 4.0,
        "active_power_l1_kw": 5.0,
        "active_power_l2_kw": -1.0,
        "energy_import_kwh": 15.0,
    }


PLAIN = [{"quantity": "active_power_kw", "scale": 0.001}]


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"1500", 1.5), (b" -1500.0\n", -1.5), (b'"1500"', 1.5), (b"+1.5e3", 1.5), (b".5", 0.0005), (b"null", None),
    ],
)  # fmt: skip
def test_a_payload_that_is_the_value_itself_is_a_number_or_a_number_as_text(
    payload: bytes, value: float | None
) -> None:
    reading = mapping_of(PLAIN).read(payload, RECEIVED_US).reading
    assert reading is not None
    assert dict(reading.items()) == {"active_power_kw": value}
    assert reading.time_us == RECEIVED_US


@pytest.mark.parametrize(
    "payload",
    [b"", b"nan", b"inf", b"-Infinity", b"1,5", b"1 kW", b"0x10", b"1_000", b"true", b"[1]", b'{"a": 1}', b"\xff",
     b"1" * 300, b"1e999", "\u0663".encode()],
)  # fmt: skip
def test_a_payload_that_is_no_number_is_a_bad_payload(payload: bytes) -> None:
    with pytest.raises(BadPayload):
        mapping_of(PLAIN).read(payload, RECEIVED_US)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("ON", "running"),
        ("on ", "running"),
        ("off", "off"),
        (True, "running"),
        (False, "off"),
        (3, "fault"),
        (3.0, "fault"),
    ],
)
def test_words_booleans_and_codes_become_run_states(said: object, state: str) -> None:
    words = {"ON": "running", "OFF": "off", "true": "running", "false": "off", "3": "fault"}
    json_mapping = mapping_of([{"quantity": "run_state", "path": "state", "states": words}])
    assert read(json_mapping, {"state": said}) == {"run_state": RUN_STATE_CODES[RunState(state)]}
    plain = mapping_of([{"quantity": "run_state", "states": words}])
    text = said if isinstance(said, str) else orjson.dumps(said).decode()
    reading = plain.read(text.encode(), RECEIVED_US).reading
    assert reading is not None
    assert reading.value("run_state") == RUN_STATE_CODES[RunState(state)]


def test_a_state_that_is_not_in_the_map_is_not_available() -> None:
    mapping = mapping_of([POWER, {"quantity": "run_state", "path": "state", "states": {"ON": "running"}}])
    mapped = mapping.read(b'{"power": 1, "state": "TOGGLE"}', RECEIVED_US)
    assert mapped.reading is not None
    assert (mapped.reading.value("run_state"), mapped.reading.quality) == (None, Quality.NOT_AVAILABLE)


ENERGY = {"quantity": "energy_import_kwh", "path": "e"}
LOCAL = {"path": "Time", "format": "iso8601_local"}


@pytest.mark.parametrize(
    ("zone", "written", "time_us", "quality"),
    [
        (None, "2026-03-29T04:06:40", RECEIVED_US, Quality.GOOD),
        ("Europe/Berlin", "2026-03-29T04:06:40", 1_774_750_000_000_000, Quality.DEVICE_TIME),
        ("Asia/Shanghai", "2026-03-29T10:06:40", 1_774_750_000_000_000, Quality.DEVICE_TIME),
        (None, "2026-03-29T10:06:40+08:00", 1_774_750_000_000_000, Quality.DEVICE_TIME),
    ],
)
def test_a_local_time_counts_where_its_zone_is_known_and_else_the_arrival(
    zone: str | None, written: str, time_us: int, quality: Quality
) -> None:
    reading = (
        mapping_of([POWER], zone=zone, time=LOCAL)
        .read(orjson.dumps({"Time": written, "power": 1}), RECEIVED_US)
        .reading
    )
    assert reading is not None
    assert (reading.time_us, reading.quality) == (time_us, quality)
    by_profile = mapping_of([POWER], time={**LOCAL, "time_zone": zone or "Asia/Shanghai"})
    assert by_profile.read(orjson.dumps({"Time": "2026-03-29T00:00:00", "power": 1}), RECEIVED_US).reading is not None


@pytest.mark.parametrize("after_the_change_h", [0, 1])
def test_in_the_hour_that_comes_twice_the_nearer_instant_is_meant(after_the_change_h: int) -> None:
    """Europe/Berlin, 2026-10-25: 02:30 is 00:30 UTC, and an hour later 02:30 is 01:30 UTC."""
    measured_us = 1_792_888_200_000_000 + after_the_change_h * 3_600_000_000
    mapping = mapping_of([POWER], zone="Europe/Berlin", time=LOCAL)
    reading = mapping.read(b'{"Time": "2026-10-25T02:30:00", "power": 1}', measured_us + 2_000_000).reading
    assert reading is not None
    assert reading.time_us == measured_us


@pytest.mark.parametrize("written", ["2026-03-29T02:06:40.500Z", 1_774_750_000_500])
def test_a_time_may_be_text_or_milliseconds_as_the_bridge_is_configured(written: object) -> None:
    mapping = mapping_of([POWER], time={"path": "seen", "format": "iso8601_or_epoch_ms"})
    reading = mapping.read(orjson.dumps({"seen": written, "power": 1}), RECEIVED_US).reading
    assert reading is not None
    assert (reading.time_us, reading.quality) == (RECEIVED_US, Quality.DEVICE_TIME)


def test_a_message_delivered_again_gets_the_time_of_its_first_arrival_if_that_is_known() -> None:
    first_us = RECEIVED_US - 60_000_000
    reading = mapping_of([POWER]).read(b'{"power": 1}', RECEIVED_US, repeated=True, first_received_us=first_us).reading
    assert reading is not None
    assert (reading.time_us, reading.quality) == (first_us, Quality.REPLAYED)


def test_on_a_mixed_topic_a_message_with_none_of_the_values_is_passed_over() -> None:
    mapping = mapping_of([], messages=[{"topic": "{topic}/rpc", "mixed": True, "values": [POWER]}])
    mapped = mapping.read(b'{"wifi": {}}', RECEIVED_US)
    assert (mapped.reading, mapped.why_none) == (None, "other_content")
    assert read(mapping, {"power": 1000, "wifi": {}}) == {"active_power_kw": 1.0}


@pytest.mark.parametrize(
    ("mqtt", "said"),
    [
        ({}, "either values, or messages"),
        ({"values": [POWER], "messages": [{"topic": "t", "values": [POWER]}]}, "either values, or messages"),
        ({"topic": "t", "messages": [{"topic": "t", "values": [POWER]}]}, "own topic and time"),
        ({"values": [{"quantity": "active_power_kw"}, POWER]}, "the value itself"),
        ({"values": [POWER], "time": {**TS, "time_zone": "UTC"}}, "belongs to iso8601_local"),
        ({"values": [POWER], "time": {**LOCAL, "time_zone": "Mars/Base"}}, "not an IANA time zone"),
        ({"values": [{**POWER, "states": {"ON": "running"}}]}, "states belong to run_state"),
        (
            {"messages": [{"topic": str(n), "values": [{**ENERGY, "count": n}]} for n in (1, 2)]},
            "counts one way",
        ),
    ],
)  # fmt: skip
def test_a_map_says_each_thing_in_one_way(mqtt: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MqttMap.model_validate(mqtt)
