from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest

from simulator import SimulatedPlant
from simulator.noise import FloatArray
from simulator.physics.chilled_water import REFERENCE_COP, chiller_cooling, pump_share, tower_share
from simulator.physics.scenarios import Scenario, ScenarioKind

Run = Callable[..., SimulatedPlant]
Row = Callable[..., FloatArray]
ANCHOR_DAY = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp()) // 86_400
WINTER_DAY = ANCHOR_DAY - 140
EARLY = datetime(2020, 1, 1, tzinfo=UTC)
FACTORY = "factory.yaml"
CHILLERS = range(1, 8)
FREE = Scenario(key="free", kind=ScenarioKind.FREE_COOLING, amount=1.0, start=EARLY)
COLD_ENOUGH = Scenario(key="warm", kind=ScenarioKind.CHILLED_WATER_SETPOINT, amount=3.0, start=EARLY)


# Computed from the published coefficients of the DOE-2 model, outside this code.
@pytest.mark.parametrize(
    ("leaving", "condenser", "part_load", "cop"),
    [(6.67, 29.4, 1.0, 5.5050), (9, 24, 0.75, 6.7491), (7, 32, 0.9, 5.3528)],
)
def test_a_chiller_has_the_efficiency_of_the_doe2_model(
    leaving: float, condenser: float, part_load: float, cop: float
) -> None:
    state = chiller_cooling(np.array([leaving]), np.array([condenser]), np.array([part_load]))
    assert state.cop[0] == pytest.approx(cop, abs=5e-5)


def test_a_chiller_gives_what_the_doe2_model_has_available() -> None:
    state = chiller_cooling(np.array([6.67]), np.array([29.4]), np.array([1.0]))
    assert state.cooling_share[0] == pytest.approx(1.003342, abs=1e-6)


@pytest.mark.parametrize("condenser", [18.0, 22.0, 26.0, 30.0])
def test_warmer_chilled_water_never_costs_more_within_the_range_that_may_be_set(condenser: float) -> None:
    def power(leaving: float) -> float:
        full = chiller_cooling(np.array([leaving]), np.array([condenser]), np.ones(1)).cooling_share
        return float(chiller_cooling(np.array([leaving]), np.array([condenser]), 0.7 / full).power_share[0])

    powers = [power(leaving) for leaving in (5.0, 6.0, 7.0, 8.0, 9.0)]
    assert (np.diff(powers) < 0).all()
    assert power(10.0) < power(7.0)


def test_pumps_and_towers_take_more_with_more_heat_and_never_more_than_their_rating() -> None:
    load = np.linspace(0.0, 1.2, 50)
    for share in (pump_share(load), tower_share(load)):
        assert (np.diff(share) >= 0).all()
        assert share[0] > 0
        assert share[-1] == pytest.approx(1.0)


def heat(plant: SimulatedPlant, row: Row, number: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the demand, what chillers take and what free cooling takes, of the installed cooling.

    On the design day five of the seven chillers carry the load at 80 %, two are in reserve.
    """
    demand = row(plant, "cooling load", number) * 0.80 * 5 / 7
    taken = sum((row(plant, f"cooling chiller-{n}", number) for n in CHILLERS), np.zeros(demand.size)) / len(CHILLERS)
    return demand, taken, demand * row(plant, "free cooling", number)


@pytest.mark.parametrize("number", [WINTER_DAY, ANCHOR_DAY + 60])
@pytest.mark.parametrize("scenarios", [(), (FREE, COLD_ENOUGH)])
def test_chillers_and_free_cooling_together_take_exactly_the_heat(
    run: Run, row: Row, number: int, scenarios: tuple[Scenario, ...]
) -> None:
    demand, taken, free = heat(run(FACTORY, scenarios), row, number)
    assert taken + free == pytest.approx(demand, rel=1e-9)


def test_free_cooling_saves_chillers_costs_its_pumps_and_does_nothing_when_it_is_warm(run: Run, row: Row) -> None:
    usual, free = run(FACTORY), run(FACTORY, (FREE, COLD_ENOUGH))
    share = row(free, "free cooling", WINTER_DAY)
    assert share.max() > 0.5
    assert not row(free, "free cooling", ANCHOR_DAY + 60).any()
    assert not row(usual, "free cooling", WINTER_DAY).any()
    assert np.array_equal(row(free, "cooling load", WINTER_DAY), row(usual, "cooling load", WINTER_DAY))
    pumps = free.topology.assets["free-cooling"].active
    assert pumps.factor == 250.0
    assert row(free, "free_cooling", WINTER_DAY) == pytest.approx(0.9 * share)

    def chillers(plant: SimulatedPlant) -> float:
        return float(sum(row(plant, f"chiller power chiller-{n}", WINTER_DAY).mean() for n in CHILLERS))

    assert chillers(free) < (1.0 - 0.6 * share.mean()) * chillers(usual)


def test_a_chiller_that_is_off_has_no_flow_no_power_and_water_at_rest(run: Run, row: Row) -> None:
    plant = run()
    off = np.flatnonzero(row(plant, "running chiller-1") == 0.0)
    assert off.size > 1000
    times = ANCHOR_DAY * 86_400_000_000 + off[:-1].astype(np.int64) * 10_000_000
    names = (
        "water_flow_m3h",
        "thermal_power_kw",
        "active_power_kw",
        "run_state",
        "chilled_water_leaving_temperature_c",
        "chilled_water_entering_temperature_c",
        "condenser_water_leaving_temperature_c",
        "condenser_water_entering_temperature_c",
    )
    got = plant.quantity_series("chiller-1-controller", times, names)
    for name in ("water_flow_m3h", "thermal_power_kw", "active_power_kw", "run_state"):
        assert not got[name].any(), name
    for side in ("chilled", "condenser"):
        leaving, entering = (got[f"{side}_water_{way}_temperature_c"] for way in ("leaving", "entering"))
        assert np.array_equal(leaving, entering)
        assert 5.0 < leaving.min() < leaving.max() < 35.0


def test_every_start_of_a_chiller_counts(run: Run) -> None:
    plant = run()
    times = ANCHOR_DAY * 86_400_000_000 + np.arange(4 * 8640, dtype=np.int64) * 10_000_000
    counted = plant.quantity_series("chiller-1-controller", times, ("starts_count",))["starts_count"]
    running = plant.tables.values(np.array([plant.topology.rows["running chiller-1"]]), times) > 0.5
    starts = np.flatnonzero(np.diff(running.astype(int)) == 1)
    assert starts.size >= 2
    assert counted[-1] - counted[0] == starts.size
    assert set(np.diff(counted)) == {0.0, 1.0}


def test_heat_balances_in_the_water_and_in_the_condenser_of_a_fouled_chiller(run: Run) -> None:
    drift = Scenario(key="foul", kind=ScenarioKind.COP_DRIFT, asset="chiller-2", amount=0.3, start=EARLY)
    times = ANCHOR_DAY * 86_400_000_000 + np.arange(0, 86_400, 600, dtype=np.int64) * 1_000_000
    rise = []
    for scenarios in ((), (drift,)):
        plant = run("plant.example.yaml", scenarios)
        got = plant.quantity_series(
            "chiller-2-controller",
            times,
            (
                "thermal_power_kw",
                "water_flow_m3h",
                "chilled_water_leaving_temperature_c",
                "chilled_water_entering_temperature_c",
                "condenser_water_leaving_temperature_c",
                "condenser_water_entering_temperature_c",
            ),
        )
        warmer = got["chilled_water_entering_temperature_c"] - got["chilled_water_leaving_temperature_c"]
        assert got["water_flow_m3h"] / 3.6 * 4.186 * warmer == pytest.approx(got["thermal_power_kw"])
        power = plant.power_series_kw("chiller-2-feeder", times)
        assert (got["thermal_power_kw"] / power).min() > 4.0
        up = got["condenser_water_leaving_temperature_c"] - got["condenser_water_entering_temperature_c"]
        assert up == pytest.approx(5.0 * (got["thermal_power_kw"] + power) / (REFERENCE_COP * 500.0))
        rise.append(up)
    assert (rise[1] > rise[0]).all()
