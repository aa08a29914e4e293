from __future__ import annotations

from collections.abc import Callable

import pytest

from emsd.plant.models import AssetKind
from simulator.noise import stream
from simulator.physics.behaviours import BY_NAME, HEAT_TO_WATER, behaviour_name
from simulator.physics.buildings import building, steady
from simulator.physics.day import Day

MONDAY, SUNDAY = 20_605, 20_604


def test_no_load_ever_goes_beyond_its_rating_or_below_nothing(day: Callable[..., Day]) -> None:
    for name, behaviour in BY_NAME.items():
        for number in (MONDAY, MONDAY + 180):
            share = behaviour(day(number), stream(1, name), "asset")
            assert 0.0 < share.min() < share.max() <= 1.0, name


def test_a_building_works_by_day_and_less_on_a_sunday(day: Callable[..., Day]) -> None:
    means = []
    for number in (MONDAY, SUNDAY):
        today = day(number)
        share = building(today, stream(1, "offices"), "offices")
        noon, night = (today.local_hour > 11) & (today.local_hour < 15), today.local_hour < 5
        assert share[noon].mean() > share[night].mean() + 0.1
        means.append(share[noon].mean())
    assert means[0] > means[1] + 0.05


def test_what_is_steady_stays_within_a_few_percent(day: Callable[..., Day]) -> None:
    share = steady(day(), stream(1, "data"), "data")
    assert share.max() - share.min() < 0.09


@pytest.mark.parametrize(
    ("kind", "key", "behaviour"),
    [
        (AssetKind.CLEANROOM, "ffu-array", "fan_filters"),
        (AssetKind.CLEANROOM, "mau_1", "make_up_air"),
        (AssetKind.PUMP, "chw-pump-1", "chilled_water_pump"),
        (AssetKind.PUMP, "cw-pump-1", "condenser_water_pump"),
        (AssetKind.PUMP, "pcw-pump", "pump"),
        (AssetKind.OTHER, "tower-1", "cooling_tower"),
        (AssetKind.OTHER, "free-cooling", "free_cooling"),
        (AssetKind.OTHER, "upw-1", "water_treatment"),
        (AssetKind.OTHER, "offices", "building"),
        (AssetKind.PROCESS_TOOL, "etcher", "process_tools"),
        (AssetKind.LIGHTING, "hall-3", "lighting"),
    ],
)
def test_a_load_behaves_as_its_name_says_or_else_its_kind(kind: AssetKind, key: str, behaviour: str) -> None:
    assert behaviour_name(kind, key) == behaviour


def test_no_load_heats_the_water_by_more_than_it_draws() -> None:
    assert all(0.0 < share <= 1.0 for share in HEAT_TO_WATER.values())
