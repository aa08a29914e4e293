from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest

from simulator.noise import stream
from simulator.physics.cleanroom import exhaust, fan_filters, lighting, make_up_air
from simulator.physics.day import Day
from simulator.physics.scenarios import Scenario, ScenarioKind

SOURCE = stream(1, "room")
EARLY = datetime(2020, 1, 1, tzinfo=UTC)


def scenario(kind: ScenarioKind, amount: float) -> Scenario:
    return Scenario(key="one", kind=kind, asset="room", amount=amount, start=EARLY)


def test_fans_never_stop_and_hardly_change(day: Callable[..., Day]) -> None:
    for fans in (fan_filters, exhaust):
        share = fans(day(), SOURCE, "room")
        assert 0.7 < share.min() < share.max() < 1.0
        assert share.std() / share.mean() < 0.02


def test_make_up_air_works_hardest_in_summer_and_winter(day: Callable[..., Day]) -> None:
    summer, autumn, winter = (make_up_air(day(20_605 + n), SOURCE, "room").mean() for n in (50, 140, 230))
    assert summer > autumn + 0.05
    assert winter > autumn + 0.03


def test_light_follows_the_clock_on_the_wall_without_a_jump(day: Callable[..., Day]) -> None:
    today = day()
    share = lighting(today, SOURCE, "room")
    shift = (today.local_hour > 7.1) & (today.local_hour < 20.9)
    night = (today.local_hour < 6.4) | (today.local_hour > 21.6)
    assert share[shift] == pytest.approx(np.full(shift.sum(), 0.92), abs=0.021)
    assert share[night] == pytest.approx(np.full(night.sum(), 0.50), abs=0.021)
    assert np.abs(np.diff(share)).max() < 0.005


@pytest.mark.parametrize("amount", [0.25, 1.0])
def test_light_left_on_burns_by_its_share_also_at_night(day: Callable[..., Day], amount: float) -> None:
    today = day()
    usual = lighting(today, SOURCE, "room")
    burning = lighting(day(scenarios=(scenario(ScenarioKind.LIGHTS_ON, amount),)), SOURCE, "room")
    night = (today.local_hour < 6.4) | (today.local_hour > 21.6)
    assert (burning - usual)[night] == pytest.approx(np.full(night.sum(), 0.42 * amount), abs=0.001)
    assert (burning >= usual).all()


def test_light_that_follows_the_people_never_needs_more(day: Callable[..., Day]) -> None:
    usual = lighting(day(), SOURCE, "room")
    controlled = lighting(day(scenarios=(scenario(ScenarioKind.LIGHTING_CONTROL, 1.0),)), SOURCE, "room")
    assert (controlled < usual).all()
    assert controlled.min() > 0.1


@pytest.mark.parametrize(
    ("kind", "amount", "factor"), [(ScenarioKind.CLOGGED_FILTERS, 0.1, 1.1), (ScenarioKind.FAN_MOTORS, 0.2, 0.8)]
)
def test_filters_and_motors_change_fans_by_their_share(
    day: Callable[..., Day], kind: ScenarioKind, amount: float, factor: float
) -> None:
    changed = day(scenarios=(scenario(kind, amount),))
    for fans in (fan_filters, make_up_air):
        usual = fans(day(), SOURCE, "room")
        assert fans(changed, SOURCE, "room") == pytest.approx(factor * usual)
        assert np.array_equal(fans(changed, SOURCE, "elsewhere"), usual)
