from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from simulator import SimulatedPlant
from simulator.noise import stream
from simulator.physics.day import KNOTS_PER_DAY, LEAD_KNOTS, SITE_ROWS, Day, day_of
from simulator.physics.scenarios import Scenario, Scenarios
from simulator.physics.weather import Sky

DAY_US = 86_400_000_000
JUNE = 20_605
PLANTS = ("plant.example.yaml", "factory.yaml")


def test_days_overlap_without_a_seam(day: Callable[..., Day]) -> None:
    today, tomorrow = day(JUNE), day(JUNE + 1)
    assert today.knot.size == LEAD_KNOTS + KNOTS_PER_DAY + 1
    for name in SITE_ROWS:
        late, early = today.site[name][KNOTS_PER_DAY:], tomorrow.site[name][: LEAD_KNOTS + 1]
        assert late == pytest.approx(early, rel=1e-12, abs=1e-9), name
    assert np.array_equal(today.local_hour[KNOTS_PER_DAY:], tomorrow.local_hour[: LEAD_KNOTS + 1])


def test_the_clock_on_the_wall_follows_its_zone() -> None:
    """Europe/Berlin, 2026-03-29 01:00 UTC, a Sunday."""
    number = int(datetime(2026, 3, 29, tzinfo=UTC).timestamp()) // 86_400
    today = day_of(number, Sky(1), ZoneInfo("Europe/Berlin"), stream(1, "a"), Scenarios())
    at = {minute: LEAD_KNOTS + minute * 6 for minute in (0, 59, 60, 61)}
    assert [round(float(today.local_hour[at[m]]) * 60) for m in at] == [60, 119, 180, 181]
    assert set(today.weekday[LEAD_KNOTS : LEAD_KNOTS + 22 * 360]) == {6}
    assert today.weekday[-1] == 0


def test_set_points_are_sane_all_year(day: Callable[..., Day]) -> None:
    for number in range(JUNE, JUNE + 365, 61):
        site = day(number).site
        assert (site["condenser_water_c"] >= np.maximum(site["wet_bulb_c"], 18.0)).all()
        assert (site["condenser_water_c"] < 35.0).all()
        assert (site["chilled_water_c"] == 7.0).all()
        assert (site["module_temperature_c"] >= site["ambient_c"]).all()


@pytest.mark.parametrize("name", PLANTS)
def test_every_row_of_a_plant_is_continuous_over_midnight(run: Callable[..., SimulatedPlant], name: str) -> None:
    plant = run(name)
    rows = np.arange(len(plant.topology.rows))[:, None]
    midnight = (JUNE + 1) * DAY_US
    before, at = plant.tables.values(rows, np.array([midnight - 1, midnight])).T
    assert before == pytest.approx(at, rel=1e-6, abs=1e-6)
    counted = plant.tables.integral(rows, np.array([midnight - 1, midnight])).positive
    assert counted[:, 0] == pytest.approx(counted[:, 1], rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("name", PLANTS)
def test_power_balances_at_every_bus_to_floating_point(run: Callable[..., SimulatedPlant], name: str) -> None:
    plant = run(name)
    times = JUNE * DAY_US + np.arange(0, 86_400, 997, dtype=np.int64) * 1_000_000 + 123_456
    assert plant.topology.children
    for parent, children in plant.topology.children.items():
        below = np.sum([plant.power_series_kw(child, times) for child in children], axis=0)
        rest = plant.topology.unmetered.get(parent)
        if rest is not None:
            below = below + plant.tables.values(np.array([rest.row]), times) * rest.factor
        assert plant.power_series_kw(parent, times) == pytest.approx(below, rel=1e-12, abs=1e-9), parent


def test_no_machine_draws_less_than_nothing_and_only_modules_give(run: Callable[..., SimulatedPlant]) -> None:
    plant = run("factory.yaml")
    times = JUNE * DAY_US + np.arange(0, 86_400, 60, dtype=np.int64) * 1_000_000
    for key, node in plant.topology.nodes.items():
        if key in plant.topology.children:
            continue
        share = plant.power_series_kw(key, times) / node.active.factor
        assert share.min() >= (-1.0 if node.generator else 0.0), key
        assert share.max() <= (0.0 if node.generator else 1.0), key


def test_a_day_is_the_same_however_it_is_asked_for(run: Callable[..., SimulatedPlant]) -> None:
    fault = Scenario.model_validate(
        {"key": "leak", "kind": "air_leak", "amount": 0.1, "start": "2026-06-02T10:00:00Z", "grows_over_days": 3.0}
    )
    plant = run("plant.example.yaml", (fault,))
    other = SimulatedPlant(plant.plant, plant.profiles, 1, anchor=datetime(2026, 6, 1, tzinfo=UTC), scenarios=(fault,))
    rows = np.arange(len(plant.topology.rows))[:, None]
    days = [JUNE + 3, JUNE, JUNE + 4, JUNE + 1]
    inside = np.arange(0, 86_400, 1801, dtype=np.int64) * 1_000_000
    forward = {n: plant.tables.values(rows, n * DAY_US + inside) for n in sorted(days)}
    for number in days:
        assert np.array_equal(other.tables.values(rows, number * DAY_US + inside), forward[number])
