"""Alarms on derived quantities watch the derived meters, by their own limits or by each meter's band."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from emsd.alarms.binding import bind_rules
from emsd.alarms.rules import Threshold
from emsd.errors import ConfigurationError
from emsd.plant.derived import derived_meter_id
from emsd.plant.models import Plant
from tests.service.test_deriving import PROFILES, plant

IDS = {"main": 1_000_001, "press": 1_000_002, "oven": 1_000_003, "view": 1_000_004}


def bound(*alarms: Mapping[str, Any], **more: Any) -> dict[tuple[str, int], Threshold]:
    document = plant(*alarms).plant.model_dump(mode="json") | more
    rules = bind_rules(Plant.model_validate(document), PROFILES, IDS)
    return {(rule.rule_key, rule.meter_id): rule.rule for rule in rules if isinstance(rule.rule, Threshold)}


def test_without_limits_each_meter_goes_by_its_own_band_and_those_without_are_left_alone() -> None:
    rules = bound({"key": "band", "quantity": "residual_percent", "deadband": 0.5, "on_delay_s": 900})
    assert rules == {
        ("band", derived_meter_id(IDS["main"])): Threshold("residual_percent", 4.0, 0.0, deadband=0.5, on_delay_s=900)
    }


def test_limits_of_the_alarm_win_and_named_meters_alone_are_watched() -> None:
    rules = bound(
        {"key": "one", "quantity": "residual_kw", "above": 50, "meters": ["main"]},
        {"key": "all", "quantity": "counter_power_deviation_percent", "above": 2},
        {"key": "kind", "quantity": "counter_power_deviation_percent", "above": 3, "asset_kind": "feeder"},
    )
    assert set(rules) == {
        ("one", derived_meter_id(IDS["main"])),
        *(("all", derived_meter_id(IDS[key])) for key in ("main", "press")),
        *(("kind", derived_meter_id(IDS[key])) for key in ("main", "press")),
    }
    assert rules["one", derived_meter_id(IDS["main"])] == Threshold("residual_kw", above=50)


def test_a_virtual_meter_is_watched_like_any_other() -> None:
    view = {"key": "view", "name": "View", "asset": "bus", "expression": "press + oven"}
    rules = bound({"key": "demand", "quantity": "demand_kw", "above": 100, "meters": ["view"]}, virtual_meters=[view])
    assert set(rules) == {("demand", derived_meter_id(IDS["view"]))}


def test_an_alarm_that_would_watch_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="watches no meter"):
        bound({"key": "none", "quantity": "residual_kw"})
