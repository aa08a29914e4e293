from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest

from simulator import SimulatedPlant
from simulator.noise import FloatArray, stream
from simulator.physics.compressed_air import (
    CYCLE_KNOTS,
    SPECIFIC_POWER_KW_MIN_M3,
    UNLOADED_SHARE,
    Compressor,
    CompressorGroup,
    compressor_cycle,
)
from simulator.physics.day import Day
from simulator.physics.scenarios import Scenario, ScenarioKind

Run = Callable[..., SimulatedPlant]
Row = Callable[..., FloatArray]
EARLY = datetime(2020, 1, 1, tzinfo=UTC)
JUNE = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp()) // 86_400
MACHINES = (
    *(Compressor(f"fixed-{n}", 300.0, False, CYCLE_KNOTS[n]) for n in range(5)),
    Compressor("vsd", 250.0, True, 31),
)


def group(day: Day, machines: tuple[Compressor, ...] = MACHINES) -> dict[str, FloatArray]:
    made = CompressorGroup.of(machines, stream(1, "air"))
    return dict(zip(made.row_names, made.rows(day, np.empty((0, 0))), strict=True))


def power_kw(rows: dict[str, FloatArray], machines: tuple[Compressor, ...] = MACHINES) -> FloatArray:
    total: FloatArray = np.sum([each.rated_kw * rows[f"compressor power {each.key}"] for each in machines], axis=0)
    return total


def air_kw(rows: dict[str, FloatArray], machines: tuple[Compressor, ...] = MACHINES) -> FloatArray:
    total: FloatArray = np.sum([each.rated_kw * rows[f"loaded {each.key}"] for each in machines], axis=0)
    return total


def scenario(kind: ScenarioKind, amount: float, asset: str | None = None) -> Scenario:
    return Scenario(key="one", kind=kind, asset=asset, amount=amount, start=EARLY)


def test_a_compressor_loads_once_a_cycle_and_pressure_rises_just_while_it_does() -> None:
    period = 31
    knot = np.arange(100 * period)
    cycle = compressor_cycle(knot, period, np.full(knot.size, 0.7))
    starts = np.flatnonzero(np.diff(cycle.loaded) > 0)
    assert np.array_equal(starts % period, np.zeros(100))
    assert cycle.receiver.min() == 0.0
    assert cycle.receiver.max() == 1.0
    loaded = cycle.loaded[1:] == 1
    assert (np.diff(cycle.receiver)[loaded] > 0).all()
    assert (np.diff(cycle.receiver)[~loaded] < 0).all()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.333, 0.7, 0.975, 1.0])
@pytest.mark.parametrize("period", CYCLE_KNOTS)
def test_a_compressor_gives_as_much_air_as_is_wanted_of_it(share: float, period: int) -> None:
    knot = np.arange(400 * period)
    loaded = compressor_cycle(knot, period, np.full(knot.size, share)).loaded.mean()
    assert loaded == pytest.approx(share, abs=3e-4)


def test_seventy_percent_loaded_costs_what_a_real_machine_takes() -> None:
    knot = np.arange(200_000)
    loaded = compressor_cycle(knot, 37, np.full(knot.size, 0.7)).loaded.mean()
    assert 250 * (UNLOADED_SHARE + (1 - UNLOADED_SHARE) * loaded) == pytest.approx(196, abs=0.5)


def test_loaded_power_is_that_of_an_isentropic_compression_at_a_plausible_efficiency() -> None:
    ratio, kappa = (7.15 + 1.01325) / 1.01325, 1.4
    ideal = 101.325 / 60 * kappa / (kappa - 1) * (ratio ** ((kappa - 1) / kappa) - 1)
    assert 0.65 < ideal / SPECIFIC_POWER_KW_MIN_M3 < 0.75


@pytest.mark.parametrize("machines", [MACHINES, MACHINES[:5], MACHINES[5:] + MACHINES[:2]])
def test_the_group_delivers_what_is_wanted(day: Callable[..., Day], machines: tuple[Compressor, ...]) -> None:
    installed = sum(each.rated_kw for each in machines)
    rows = [group(day(JUNE + n), machines) for n in (0, 40)]
    for each in rows:
        delivered, wanted = air_kw(each, machines), installed * each["air demand"]
        assert delivered.mean() == pytest.approx(wanted.mean(), rel=0.004)
        specific = SPECIFIC_POWER_KW_MIN_M3 * power_kw(each, machines).mean() / delivered.mean()
        assert 6.6 < specific < 7.8


def test_a_machine_that_is_not_wanted_stops_and_draws_nothing(day: Callable[..., Day]) -> None:
    rows = group(day())
    stopped = [each.key for each in MACHINES if not rows[f"running {each.key}"].any()]
    assert stopped
    assert all(not rows[f"{what} {key}"].any() for what in ("compressor power", "loaded") for key in stopped)
    assert (rows["running vsd"] == 1.0).all()


def test_a_drive_keeps_to_its_range_and_holds_the_pressure(day: Callable[..., Day]) -> None:
    rows = group(day())
    assert 0.25 <= rows["loaded vsd"].min() < rows["loaded vsd"].max() <= 1.0
    assert np.ptp(rows["receiver vsd"]) < 0.21
    assert np.ptp(rows["receiver fixed-1"]) == 1.0


def test_leaks_grow_with_absolute_pressure_and_close_by_their_share(day: Callable[..., Day]) -> None:
    wanted = group(day())["air demand"]
    leaks = 0.14
    leaky = group(day(scenarios=(scenario(ScenarioKind.AIR_LEAK, 0.05),)))["air demand"]
    assert leaky - wanted == pytest.approx(np.full(wanted.size, 0.05))
    repaired = group(day(scenarios=(scenario(ScenarioKind.LEAK_REPAIR, 0.5),)))["air demand"]
    assert repaired - wanted == pytest.approx(np.full(wanted.size, -leaks / 2))
    higher = group(day(scenarios=(scenario(ScenarioKind.AIR_SETPOINT, 0.815),)))["air demand"]
    assert higher - wanted == pytest.approx(np.full(wanted.size, leaks * 0.1))


def test_pressure_costs_one_percent_for_each_two_psi(day: Callable[..., Day]) -> None:
    two_psi = 2 * 0.0689476
    usual, higher = group(day()), group(day(scenarios=(scenario(ScenarioKind.AIR_SETPOINT, two_psi),)))
    loaded = (usual["loaded fixed-1"] == 1.0) & (higher["loaded fixed-1"] == 1.0)
    assert loaded.any()
    gain = higher["compressor power fixed-1"][loaded] / usual["compressor power fixed-1"][loaded]
    assert gain == pytest.approx(np.full(gain.size, 1.01), abs=1e-4)


def test_a_drive_put_into_one_machine_saves_what_it_idles_and_changes_no_other(day: Callable[..., Day]) -> None:
    machines = tuple(Compressor(f"c-{n}", 250.0, False, CYCLE_KNOTS[n]) for n in range(2))
    usual = group(day(), machines)
    fitted = group(day(scenarios=(scenario(ScenarioKind.SPEED_CONTROL, 1.0, "c-0"),)), machines)
    share = usual["loaded c-0"].mean()
    assert fitted["loaded c-0"].mean() == pytest.approx(share, rel=0.004)
    saved = (usual["compressor power c-0"] - fitted["compressor power c-0"]).mean()
    assert saved == pytest.approx((UNLOADED_SHARE - 0.06) * (1.0 - share), rel=0.03)
    assert np.ptp(fitted["receiver c-0"]) < 0.21
    assert np.array_equal(usual["compressor power c-1"], fitted["compressor power c-1"])


def test_controllers_of_drives_and_of_stopped_machines_show_what_they_do(run: Run, row: Row) -> None:
    fitted = run(
        "plant.example.yaml",
        (Scenario(key="vsd", kind=ScenarioKind.SPEED_CONTROL, asset="compressor-1", amount=1.0, start=EARLY),),
    )
    times = JUNE * 86_400_000_000 + np.arange(0, 86_400, 60, dtype=np.int64) * 1_000_000
    names = ("run_state", "drive_frequency_hz", "capacity_percent", "sump_pressure_bar", "discharge_pressure_bar")
    got = fitted.quantity_series("compressor-1-controller", times, names)
    usual = fitted.quantity_series("compressor-2-controller", times, names)
    assert len(set(got["run_state"])) == 1 < len(set(usual["run_state"]))
    assert got["drive_frequency_hz"] == pytest.approx(got["capacity_percent"] / 2)
    assert (usual["drive_frequency_hz"] == 50.0).all()
    assert (got["sump_pressure_bar"] > got["discharge_pressure_bar"]).all()

    factory = run("factory.yaml")
    off = [n for n in range(1, 6) if not row(factory, f"running compressor-{n}").any()]
    assert off
    feeder = next(key for key, m in factory.meters.items() if m.asset == f"compressor-{off[0]}")
    zeros = ("motor_current_a", "drive_frequency_hz", "run_state", "sump_pressure_bar", "air_flow_nm3h", "starts_count")
    still = factory.quantity_series(feeder, times, (*zeros, "airend_temperature_c", "ambient_temperature_c"))
    for name in zeros[:-1]:
        assert not still[name].any(), name
    assert len(set(still["starts_count"])) == 1
    assert np.array_equal(still["airend_temperature_c"], still["ambient_temperature_c"])
