"""Each kind of scenario against what its definition says, on one day of the example plant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from emsd.errors import ConfigurationError
from emsd.plant.models import AssetKind
from simulator import SimulatedPlant
from simulator.noise import FloatArray
from simulator.physics.scenarios import KINDS, SAVINGS, Scenario, ScenarioKind, Scenarios

Run = Callable[..., SimulatedPlant]
EXAMPLE = "plant.example.yaml"
JUNE_1 = datetime(2026, 6, 1, tzinfo=UTC)
EARLY = datetime(2020, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000
START_US = int(JUNE_1.timestamp()) * 1_000_000
CHILLERS = ("chiller-1-feeder", "chiller-2-feeder")
COMPRESSORS = ("compressor-1-feeder", "compressor-2-feeder")
MAINS = ("incomer", "cleanroom-feeder")


def scenario(kind: str, amount: float, asset: str | None = None, **more: Any) -> Scenario:
    return Scenario.model_validate(
        {"key": "one", "kind": kind, "amount": amount, "asset": asset, "start": EARLY} | more
    )


def day_kwh(plant: SimulatedPlant, *meters: str) -> float:
    each = [plant.true_energy_kwh(key, START_US, START_US + DAY_US) for key in meters]
    return sum(one.import_kwh - one.export_kwh for one in each)


def day_mean(plant: SimulatedPlant, row: str) -> float:
    place = np.array([plant.topology.rows[row]])
    total = plant.tables.integral(place, np.array([START_US, START_US + DAY_US])).positive
    return float(total[1] - total[0]) / 24


# By hand: factor on the day's energy of the asset's meters.
@pytest.mark.parametrize(
    ("kind", "amount", "asset", "meter", "factor"),
    [
        ("compressor_wear", 0.12, "compressor-1", "compressor-1-feeder", 1.12),
        ("cop_drift", 0.25, "chiller-2", "chiller-2-feeder", 1.25),
        ("soiling", 0.10, "pv-1", "pv-1-inverter", 1.0 - 0.10 / 0.97),
        ("string_outage", 0.25, "pv-1", "pv-1-inverter", 0.75),
        ("clogged_filters", 0.10, "fan-filters", "cleanroom-ffu", 1.10),
        ("fan_motors", 0.20, "exhaust", "cleanroom-exhaust", 0.80),
    ],
)
def test_a_share_changes_the_energy_of_its_asset_by_that_share(
    run: Run, kind: str, amount: float, asset: str, meter: str, factor: float
) -> None:
    usual, changed = run(EXAMPLE), run(EXAMPLE, (scenario(kind, amount, asset),))
    exact = 1e-9 if asset != "pv-1" else 0.012  # an inverter's efficiency, and what was clean before
    assert day_kwh(changed, meter) == pytest.approx(factor * day_kwh(usual, meter), rel=exact)


# By hand: two machines of 250 kW that draw 0.28 + 0.72 of the air that each gives; 0.14 of the installed air leaks.
@pytest.mark.parametrize(
    ("kind", "amount", "mean_kw"),
    [("air_leak", 0.05, 0.72 * 500 * 0.05), ("leak_repair", 0.5, -0.72 * 500 * 0.07)],
)
def test_leaks_cost_what_the_compressors_draw_for_their_air(run: Run, kind: str, amount: float, mean_kw: float) -> None:
    usual, changed = run(EXAMPLE), run(EXAMPLE, (scenario(kind, amount),))
    cost = day_kwh(changed, *COMPRESSORS) - day_kwh(usual, *COMPRESSORS)
    assert cost == pytest.approx(24 * mean_kw, rel=0.05)


def test_pressure_costs_by_what_is_compressed_and_by_what_leaks(run: Run) -> None:
    usual, changed = run(EXAMPLE), run(EXAMPLE, (scenario("air_setpoint", 0.5),))
    leaks_kw = 0.72 * 500 * 0.14 * 0.5 / 8.15
    expected = (day_kwh(usual, *COMPRESSORS) + 24 * leaks_kw) * (1 + 0.0725 * 0.5)
    assert day_kwh(changed, *COMPRESSORS) == pytest.approx(expected, rel=0.003)


def test_a_speed_drive_saves_what_a_machine_idles(run: Run) -> None:
    usual, changed = run(EXAMPLE), run(EXAMPLE, (scenario("speed_control", 1.0, "compressor-1"),))
    idle = 1.0 - day_mean(usual, "loaded compressor-1")
    saved = day_kwh(usual, "compressor-1-feeder") - day_kwh(changed, "compressor-1-feeder")
    assert saved == pytest.approx(24 * 250 * (0.28 - 0.06) * idle, rel=0.03)
    assert day_kwh(usual, "compressor-2-feeder") == day_kwh(changed, "compressor-2-feeder")


def test_a_stuck_valve_lets_its_share_of_the_cold_go_to_waste(run: Run) -> None:
    usual, changed = run(EXAMPLE), run(EXAMPLE, (scenario("stuck_valve", 0.08),))
    # Of two chillers, none in reserve, the load of the design day takes 80 %.
    wasted = 0.80 * (day_mean(changed, "cooling load") - day_mean(usual, "cooling load"))
    assert wasted == pytest.approx(0.08, rel=0.01)
    assert day_kwh(changed, *CHILLERS) > 1.05 * day_kwh(usual, *CHILLERS)


def test_warmer_chilled_water_saves_at_the_chillers(run: Run) -> None:
    usual, changed = run(EXAMPLE), run(EXAMPLE, (scenario("chilled_water_setpoint", 2.0),))
    assert 0.93 < day_kwh(changed, *CHILLERS) / day_kwh(usual, *CHILLERS) < 0.99
    assert day_mean(changed, "cooling load") == day_mean(usual, "cooling load")


def test_free_cooling_saves_in_winter_and_is_worth_nothing_in_summer(run: Run) -> None:
    usual, changed = run(EXAMPLE), run(EXAMPLE, (scenario("free_cooling", 1.0),))
    winter = START_US - 140 * DAY_US + np.arange(0, 86_400, 60, dtype=np.int64) * 1_000_000
    summer = winter + 200 * DAY_US
    before, after = (sum(plant.power_series_kw(key, winter).mean() for key in CHILLERS) for plant in (usual, changed))
    share = changed.tables.values(np.array([changed.topology.rows["free cooling"]]), winter).mean()
    assert share > 0.2
    assert after < before * (1.0 - 0.5 * share)
    for key in CHILLERS:
        assert np.array_equal(changed.power_series_kw(key, summer), usual.power_series_kw(key, summer))


@pytest.mark.parametrize(
    ("kind", "amount", "least", "most"), [("lights_on", 1.0, 1.1, 1.4), ("lighting_control", 1.0, 0.4, 0.8)]
)
def test_light_costs_what_burns(run: Run, kind: str, amount: float, least: float, most: float) -> None:
    usual, changed = run(EXAMPLE), run(EXAMPLE, (scenario(kind, amount, "lighting"),))
    assert least < day_kwh(changed, "cleanroom-lighting") / day_kwh(usual, "cleanroom-lighting") < most
    assert day_kwh(changed, *CHILLERS) != day_kwh(usual, *CHILLERS)  # lamps are heat


# Which meters see a scenario of some hours. Heat goes to the chillers, everything to the incomer.
TOUCHED = {
    "air_leak": (*COMPRESSORS, "incomer"),
    "air_setpoint": (*COMPRESSORS, "incomer"),
    "compressor_wear": ("compressor-1-feeder", "incomer"),
    "cop_drift": ("chiller-2-feeder", "incomer"),
    "chilled_water_setpoint": (*CHILLERS, "incomer"),
    "stuck_valve": (*CHILLERS, "incomer"),
    "soiling": ("pv-1-inverter", "incomer"),
    "string_outage": ("pv-1-inverter", "incomer"),
    "lights_on": ("cleanroom-lighting", *CHILLERS, *MAINS),
    "clogged_filters": ("cleanroom-ffu", *CHILLERS, *MAINS),
    "speed_control": ("compressor-1-feeder", "incomer"),
    "leak_repair": (*COMPRESSORS, "incomer"),
    "free_cooling": (),  # in June
    "lighting_control": ("cleanroom-lighting", *CHILLERS, *MAINS),
    "fan_motors": ("cleanroom-ffu", *CHILLERS, *MAINS),
}
ASSET = {
    AssetKind.COMPRESSOR: "compressor-1",
    AssetKind.CHILLER: "chiller-2",
    AssetKind.PV_INVERTER: "pv-1",
    AssetKind.LIGHTING: "lighting",
    AssetKind.CLEANROOM: "fan-filters",
}
TIMES = START_US + np.arange(0, 86_400, 30, dtype=np.int64) * 1_000_000
HOUR = (TIMES - START_US) / 3.6e9


def difference(run: Run, one: Scenario) -> dict[str, FloatArray]:
    usual, changed = run(EXAMPLE), run(EXAMPLE, (one,))
    return {
        key: changed.power_series_kw(key, TIMES) - usual.power_series_kw(key, TIMES) for key in usual.topology.nodes
    }


@pytest.mark.parametrize("kind", list(ScenarioKind))
def test_a_scenario_changes_nothing_outside_its_time_and_its_asset(run: Run, kind: ScenarioKind) -> None:
    traits = KINDS[kind]
    asset = ASSET[traits.asset_kinds[0]] if traits.asset_kinds else None
    window = {"start": JUNE_1 + timedelta(hours=10), "end": JUNE_1 + timedelta(hours=14)}  # from 18 to 22 at the site
    found = difference(run, scenario(kind, traits.most / 2, asset, **window))
    # Sequencers look ahead by half an hour, and a compressor ends the cycle that it has begun.
    outside = (HOUR < 9.5) | (HOUR > 14.5)
    inside = (HOUR > 10.0) & (HOUR < 14.0)
    for key, change in found.items():
        assert not change[outside].any(), key
        if key in TOUCHED[kind]:
            assert change[inside].any(), key
        else:
            assert not change.any(), key
    total = float(found["incomer"][inside].mean())
    if kind in SAVINGS or kind is ScenarioKind.CHILLED_WATER_SETPOINT:
        assert total <= 0.0
    else:
        assert total > 0.0


def test_a_scenario_grows_to_its_amount_and_ends() -> None:
    one = scenario("air_leak", 0.2, start=JUNE_1, end=JUNE_1 + timedelta(days=20), grows_over_days=10.0)
    days = JUNE_1.timestamp() + np.array([-1.0, 0.0, 2.5, 10.0, 19.0, 20.0]) * 86_400
    assert one.amount_at(days) == pytest.approx([0.0, 0.0, 0.05, 0.2, 0.2, 0.0])


def test_scenarios_of_one_kind_add_up_to_the_limit_of_the_kind() -> None:
    both = Scenarios.of([scenario("fan_motors", 0.4), scenario("fan_motors", 0.3, "ffu", key="two")])
    now = np.array([JUNE_1.timestamp()])
    assert both.amount(ScenarioKind.FAN_MOTORS, "ffu", now) == pytest.approx([0.6])
    assert both.amount(ScenarioKind.FAN_MOTORS, "mau", now) == pytest.approx([0.4])
    assert both.amount(ScenarioKind.SOILING, "ffu", now) == 0.0


def test_without_one_is_as_if_it_had_never_been(run: Run) -> None:
    leak, drift = scenario("air_leak", 0.1), scenario("cop_drift", 0.2, "chiller-1", key="two")
    left = Scenarios.of([leak, drift]).without("two")
    assert left == Scenarios.of([leak])
    alone, again = run(EXAMPLE, (leak,)), run(EXAMPLE, left.all)
    assert day_kwh(alone, "incomer") == day_kwh(again, "incomer")
    with pytest.raises(KeyError):
        left.without("two")


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": 0.9},
        {"amount": float("nan")},
        {"asset": "compressor-1"},
        {"end": EARLY},
        {"start": "2026-06-01T00:00:00"},
        {"key": "No Key"},
    ],
)
def test_a_scenario_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    right = {"key": "one", "kind": "air_leak", "amount": 0.1, "start": EARLY}
    assert Scenario.model_validate(right).amount == 0.1
    with pytest.raises(ValidationError):
        Scenario.model_validate(right | wrong)


@pytest.mark.parametrize(
    ("scenarios", "words"),
    [
        ((scenario("soiling", 0.1, "pv-9"),), "no asset pv-9"),
        ((scenario("soiling", 0.1, "chiller-1"),), "but chiller-1 is a chiller"),
        ((scenario("air_leak", 0.1), scenario("stuck_valve", 0.1)), "two scenarios are called one"),
    ],
)
def test_a_scenario_that_a_plant_cannot_have_is_refused(run: Run, scenarios: tuple[Scenario, ...], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        run(EXAMPLE, scenarios)
