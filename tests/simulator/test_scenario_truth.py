from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest

from emsd.plant.loader import LoadedPlant
from emsd.plant.tree import ancestors
from emsd.readings import instant_us
from simulator import SimulatedPlant
from simulator.physics.scenarios import Scenario, ScenarioKind
from simulator.scenario_truth import ScenarioTruth, reach_us

START = datetime(2026, 5, 19, 16, tzinfo=UTC)  # midnight in Mianyang
BEGIN_US = instant_us(START)
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


def scenario(kind: ScenarioKind, amount: float, asset: str | None = None, hours: float | None = None) -> Scenario:
    end = None if hours is None else START + timedelta(hours=hours)
    return Scenario(key=kind.value.replace("_", "-"), kind=kind, amount=amount, asset=asset, start=START, end=end)


SCENARIOS = (
    scenario(ScenarioKind.STRING_OUTAGE, 1.0, "pv-array-5", 48),
    scenario(ScenarioKind.LIGHTS_ON, 1.0, "lighting-cell", 48),
    scenario(ScenarioKind.AIR_LEAK, 0.05),
    scenario(ScenarioKind.COP_DRIFT, 0.2, "chiller-5", 30),
    scenario(ScenarioKind.FAN_MOTORS, 0.22, "ffu-module"),
)

Build = Callable[[Sequence[Scenario]], SimulatedPlant]


@pytest.fixture(scope="module")
def build(factory: LoadedPlant) -> Build:
    def simulate(scenarios: Sequence[Scenario]) -> SimulatedPlant:
        return SimulatedPlant(factory.plant, factory.profiles, 1, anchor=START, scenarios=scenarios)

    return simulate


@pytest.fixture(scope="module")
def truth(build: Build) -> ScenarioTruth:
    return ScenarioTruth(build(SCENARIOS))


def test_costs_of_windows_add_up_however_they_are_cut(truth: ScenarioTruth) -> None:
    cuts = [BEGIN_US - DAY_US, BEGIN_US + 7_654_321, BEGIN_US + 31 * HOUR_US + 1, BEGIN_US + 50 * HOUR_US]
    for each in truth.scenarios:
        parts = [truth.cost(each.key, a, b) for a, b in pairwise(cuts)]
        whole = truth.cost(each.key, cuts[0], cuts[-1])
        assert abs(whole.site_kwh) > 50, each.key
        assert sum(part.site_kwh for part in parts) == pytest.approx(whole.site_kwh, abs=1e-5)
        for key, kwh in whole.meters.items():
            assert sum(part.meters[key] for part in parts) == pytest.approx(kwh, abs=1e-5)


def test_nothing_costs_before_it_begins_nor_long_after_its_end(truth: ScenarioTruth) -> None:
    for each in truth.scenarios:
        before = truth.cost(each.key, BEGIN_US - 2 * DAY_US, BEGIN_US - HOUR_US)
        assert set(before.meters.values()) == {0.0}
        if each.end is not None:
            end_us = instant_us(each.end)
            assert set(truth.cost(each.key, end_us + 2 * HOUR_US, end_us + DAY_US).meters.values()) == {0.0}
    with pytest.raises(KeyError):
        truth.cost("unheard-of", BEGIN_US, BEGIN_US + 1)
    with pytest.raises(ValueError, match="ends"):
        truth.cost("air-leak", BEGIN_US + 1, BEGIN_US)


def test_what_is_not_compared_is_really_equal(build: Build) -> None:
    """Outside its reach a twin is the plant, to the last bit: that is why no day there is computed."""
    odd = START + timedelta(minutes=47, seconds=13)
    one = SCENARIOS[2].model_copy(update={"start": odd, "end": odd + timedelta(hours=3), "amount": 0.2})
    physics = build([one])
    twin, keys = physics.without(one.key), list(physics.topology.nodes)
    reach = reach_us(one)
    assert reach[1] is not None
    outside = [np.arange(begin, begin + 6 * HOUR_US, 5_000_000) for begin in (reach[0] - 6 * HOUR_US, reach[1])]
    inside = np.arange(instant_us(odd), instant_us(odd) + 3 * HOUR_US, 5_000_000)
    for key in keys:
        for times in outside:
            assert np.array_equal(physics.power_series_kw(key, times), twin.power_series_kw(key, times)), key
    both = [plant.power_series_kw("incomer-1", inside).mean() for plant in (physics, twin)]
    assert both[0] > both[1] + 500


def test_a_dead_array_costs_its_whole_yield_at_its_meter_its_bus_and_the_incomer(
    truth: ScenarioTruth, build: Build
) -> None:
    window = (BEGIN_US, BEGIN_US + DAY_US)
    cost = truth.cost("string-outage", *window)
    sound = build(()).true_energy_kwh("pv-array-5", *window).export_kwh
    assert sound > 1000
    for key in ("pv-array-5", "pv-bus", "incomer-1"):
        assert cost.meters[key] == pytest.approx(sound, abs=1e-6)
    assert cost.site_kwh == pytest.approx(sound, abs=1e-6)
    assert cost.areas["roof"] == pytest.approx(sound, abs=1e-6)
    elsewhere = {key: kwh for key, kwh in cost.meters.items() if key not in {"pv-array-5", "pv-bus", "incomer-1"}}
    assert set(elsewhere.values()) == {0.0}


def test_half_of_the_strings_cost_as_much_as_the_other_half_yields(build: Build) -> None:
    """But for the inverter, which makes less than half of half: its own use is that of full power (PVWatts)."""
    window = (BEGIN_US, BEGIN_US + DAY_US)
    half = build([scenario(ScenarioKind.STRING_OUTAGE, 0.5, "pv-array-5")])
    left = half.true_energy_kwh("pv-array-5", *window).export_kwh
    cost = ScenarioTruth(half).cost("string-outage", *window)
    assert left < cost.site_kwh < 1.06 * left
    noon = np.array([BEGIN_US + 12 * HOUR_US + 10_000_000 * n for n in range(360)])  # on knots of the table
    sound, lame = (-plant.power_series_kw("pv-array-5", noon) / 1760 for plant in (build(()), half))
    # Pac = Pac0 / 0.9637 (-0.0162 z^2 + 0.9858 z - 0.0059) with z = Pdc / Pdc0, where the inverter does not clip.
    load = (0.9858 - np.sqrt(0.9858**2 - 4 * 0.0162 * (0.0059 + 0.9637 * sound))) / (2 * 0.0162)
    assert load.max() < 1
    expected = (-0.0162 * (load / 2) ** 2 + 0.9858 * load / 2 - 0.0059) / 0.9637
    assert lame == pytest.approx(expected, rel=1e-9)


def test_lights_left_on_cost_what_the_schedule_would_have_dimmed_and_its_heat(truth: ScenarioTruth) -> None:
    """From 21:00 to 21:30 and 6:30 to 7:00 half of it: 0.42 x 380 kW x (24 - 14.5) h."""
    cost = truth.cost("lights-on", BEGIN_US, BEGIN_US + DAY_US)
    assert cost.meters["lighting-cell"] == pytest.approx(0.42 * 380 * 9.5, abs=1e-6)
    assert cost.meters["cell-feeder"] == pytest.approx(0.42 * 380 * 9.5, abs=1e-6)
    cooling = cost.meters["chilled-water-feeder-1"] + cost.meters["chilled-water-feeder-2"]
    assert 0.08 < cooling / cost.meters["lighting-cell"] < 0.6
    assert cost.meters["compressed-air-feeder-1"] == cost.meters["upw-1"] == cost.meters["pv-bus"] == 0.0
    assert cost.site_kwh == pytest.approx(cost.meters["lighting-cell"] + cooling, abs=1e-5)


def test_the_cost_of_a_bus_is_that_of_its_children_and_the_site_is_its_incomers(
    truth: ScenarioTruth, factory: LoadedPlant
) -> None:
    tree = truth.cost("air-leak", BEGIN_US, BEGIN_US + DAY_US)
    children: dict[str, list[str]] = {}
    for meter in factory.plant.meters:
        if meter.parent is not None and meter.key in tree.meters:
            children.setdefault(meter.parent, []).append(meter.key)
    assert len(children) >= 12
    for each in truth.scenarios:
        cost = truth.cost(each.key, BEGIN_US, BEGIN_US + DAY_US)
        for parent, below in children.items():
            assert cost.meters[parent] == pytest.approx(sum(cost.meters[key] for key in below), abs=1e-5)
        assert cost.site_kwh == pytest.approx(cost.meters["incomer-1"] + cost.meters["incomer-2"], abs=1e-9)


def test_an_area_costs_what_its_uppermost_meters_do(truth: ScenarioTruth, factory: LoadedPlant) -> None:
    cost = truth.cost("air-leak", BEGIN_US, BEGIN_US + DAY_US)
    feeders = cost.meters["compressed-air-feeder-1"] + cost.meters["compressed-air-feeder-2"]
    assert feeders > 1000
    assert cost.areas["compressed-air"] == pytest.approx(feeders, abs=1e-9)
    parents = {area.key: area.parent for area in factory.plant.areas}
    assert all(cost.areas[area] == pytest.approx(feeders, abs=1e-6) for area in ancestors("compressed-air", parents))
    assert cost.areas["offices"] == 0.0


def test_what_saves_has_a_negative_cost(truth: ScenarioTruth, example: LoadedPlant) -> None:
    fans = truth.cost("fan-motors", BEGIN_US, BEGIN_US + DAY_US)
    assert fans.meters["ffu-module"] == pytest.approx(-0.22 * 0.86 * 1120 * 24, rel=0.03)
    assert fans.site_kwh < fans.meters["ffu-module"]  # and less heat to take away
    drive = scenario(ScenarioKind.SPEED_CONTROL, 1.0, "compressor-1")
    small = SimulatedPlant(example.plant, example.profiles, 1, anchor=START, scenarios=[drive])
    air = ScenarioTruth(small).cost("speed-control", BEGIN_US, BEGIN_US + DAY_US)
    assert air.meters["compressor-1-feeder"] < -50
    assert air.site_kwh == pytest.approx(air.meters["compressor-1-feeder"], abs=1e-5)
