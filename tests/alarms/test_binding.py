from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from emsd.alarms.binding import BoundRule, bind_rules
from emsd.alarms.rules import Stale, Threshold
from emsd.errors import ConfigurationError
from emsd.plant.derived import derived_meter_id
from emsd.plant.loader import load_plant
from emsd.plant.models import Plant
from emsd.plant.profile import Profile

EXAMPLE = Path(__file__).parents[2] / "config" / "plant.example.yaml"


def profile(name: str, *quantities: str, reporting: str = "periodic") -> Profile:
    return Profile.model_validate(
        {
            "profile": name,
            "kind": "generic",
            "manufacturer": "m",
            "model": "m",
            "source": ["test"],
            "mqtt": {"reporting": reporting, "values": [{"quantity": each, "path": each} for each in quantities]},
        }
    )


PROFILES = {
    each.profile: each
    for each in (
        profile("power", "active_power_kw", "energy_import_kwh"),
        profile("controller", "discharge_pressure_bar"),
        profile("door", "room_pressure_pa", reporting="by_exception"),
    )
}
METERS = {"feeder": ("compressor", "power"), "controller": ("compressor", "controller"), "door": ("room", "door")}


def plant(*alarms: Mapping[str, Any]) -> Plant:
    return Plant.model_validate(
        {
            "site": {"name": "Suzhou 1", "time_zone": "Asia/Shanghai", "carbon_region": "CN"},
            "areas": [{"key": "hall", "name": "Hall"}],
            "assets": [
                {"key": "compressor", "name": "Compressor 1", "kind": "compressor", "area": "hall"},
                {"key": "room", "name": "Room", "kind": "cleanroom", "area": "hall"},
            ],
            "connections": [{"key": "broker", "kind": "mqtt", "host": "127.0.0.1"}],
            "meters": [
                {"key": key, "name": key.title(), "asset": asset, "profile": used, "connection": "broker", "topic": key}
                | {"poll_interval_s": 10}
                for key, (asset, used) in METERS.items()
            ],
            "alarms": [{"key": "alarm", "name": "An alarm", **each} for each in alarms],
            "notification_targets": [
                {"key": "chat", "url": "json://127.0.0.1"},
                {"key": "pager", "url": "json://127.0.0.1", "priorities": ["high"]},
            ],
        }
    )


def bind(*alarms: Mapping[str, Any]) -> list[BoundRule]:
    return bind_rules(plant(*alarms), PROFILES, {key: number for number, key in enumerate(METERS)})


def test_an_asset_kind_means_its_meters_that_deliver_the_quantity() -> None:
    [bound] = bind(
        {
            "kind": "threshold",
            "quantity": "discharge_pressure_bar",
            "below": 6,
            "deadband": 0.3,
            "on_delay_s": 10,
            "asset_kind": "compressor",
            "advice": "Start the other one.",
        }
    )
    assert bound.meter_id == 1
    assert bound.rule == Threshold("discharge_pressure_bar", below=6, deadband=0.3, on_delay_s=10)
    assert (bound.site_name, bound.asset_name, bound.meter_name) == ("Suzhou 1", "Compressor 1", "Controller")
    assert (bound.zone, bound.advice) == (ZoneInfo("Asia/Shanghai"), "Start the other one.")


def test_a_stale_alarm_for_all_meters_leaves_out_those_that_report_by_exception() -> None:
    assert [(each.meter_id, each.rule) for each in bind({"kind": "stale"})] == [(0, Stale(30)), (1, Stale(30))]


def test_a_stale_alarm_knows_which_of_its_meters_may_rest_and_a_threshold_need_not() -> None:
    threshold = {"key": "high", "kind": "threshold", "quantity": "active_power_kw", "above": 1, "meters": ["feeder"]}
    alarms = plant({"kind": "stale"}, threshold)
    ids = {key: number for number, key in enumerate(METERS)}
    bound = bind_rules(alarms, PROFILES, ids, may_rest={"feeder": lambda time_us: time_us < 7})
    stale = {each.meter_id: each.rule for each in bound if isinstance(each.rule, Stale)}
    assert stale[1].may_rest is None
    assert stale[0].may_rest is not None
    assert [stale[0].may_rest(time_us) for time_us in (6, 7)] == [True, False]


def test_a_meter_that_is_named_is_watched_whatever_it_reports_by() -> None:
    assert [each.meter_id for each in bind({"kind": "stale", "meters": ["door"]})] == [2]


def test_meters_of_both_ways_are_watched_once() -> None:
    bound = bind({"kind": "stale", "meters": ["feeder", "door"], "asset_kind": "compressor"})
    assert [each.meter_id for each in bound] == [0, 1, 2]


@pytest.mark.parametrize(("priority", "targets"), [("high", ("pager", "chat")), ("low", ("chat",))])
def test_a_target_is_told_only_of_the_priorities_it_wants(priority: str, targets: tuple[str, ...]) -> None:
    [bound] = bind({"kind": "stale", "meters": ["feeder"], "priority": priority, "notify": ["pager", "chat", "chat"]})
    assert bound.targets == targets


def test_all_alarms_that_cannot_work_are_reported_at_once() -> None:
    limits = {"kind": "threshold", "quantity": "active_power_kw", "above": 1}
    with pytest.raises(ConfigurationError) as caught:
        bind(
            {**limits, "key": "a", "meters": ["controller"]},
            {**limits, "key": "b"},
            {**limits, "key": "c", "meters": ["feeder"], "below": 0, "deadband": 1},
            {**limits, "key": "d", "meters": ["feeder"], "notify": ["nobody"]},
            {**limits, "key": "e", "meters": ["elsewhere"]},
            {**limits, "key": "f", "meters": ["feeder"]},
        )
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [f"alarm {key}" for key in "abcde"]
    for line, reason in zip(
        lines,
        ["controller does not deliver", "watches no meter", "could never return", "nobody", "elsewhere"],
        strict=True,
    ):
        assert reason in line


def test_the_example_plant_has_its_alarms() -> None:
    loaded = load_plant(EXAMPLE, environ={})
    numbers = {key: 1_000_001 + place for place, key in enumerate(loaded.numbered_keys)}
    bound = bind_rules(loaded.plant, loaded.profiles, numbers)
    keys = {number: key for key, number in numbers.items()}
    keys |= {derived_meter_id(number): key for number, key in keys.items()}
    watched = {(each.rule_key, keys[each.meter_id]): each.rule.describe() for each in bound}
    assert watched["cleanroom-pressure-low", "cleanroom-climate"] == "room_pressure_pa < 15 Pa for 5 s"
    assert {meter for rule, meter in watched if rule == "compressed-air-pressure-low"} == {
        "compressor-1-controller",
        "compressor-2-controller",
    }
    assert {meter: rule for (key, meter), rule in watched.items() if key == "residual-out-of-band"} == {
        "incomer": "residual_percent > 10 % or < 0 % for 1800 s",
        "cleanroom-feeder": "residual_percent > 2 % or < -1 % for 1800 s",
    }
    assert {rule for rule, _ in watched} == {alarm.key for alarm in loaded.plant.alarms}
    assert all(each.targets == ("oncall",) for each in bound)
