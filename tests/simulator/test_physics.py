from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from emsd.errors import ConfigurationError
from emsd.plant.loader import LoadedPlant
from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.plant.models import Area, Asset, AssetKind, Meter, Plant, Site
from emsd.readings import instant_us
from simulator import Disturbance, SimulatedPlant, fleet_profile

ANCHOR = datetime(2026, 6, 1, tzinfo=UTC)
MIDNIGHT_US = instant_us(datetime(2026, 6, 3, tzinfo=UTC))
NOON_US = instant_us(datetime(2026, 6, 3, 5, tzinfo=UTC))  # 13:00 in the site's zone
NIGHT_US = instant_us(datetime(2026, 6, 3, 17, tzinfo=UTC))
DAY_US = 86_400_000_000
PV = ("pv-1-inverter", "pv-2-inverter")


def odd_instants(count: int = 500) -> Sequence[int]:
    return [int(t) for t in np.random.default_rng(7).integers(NOON_US - DAY_US, NOON_US + DAY_US, count)]


def test_power_balances_at_every_bus_at_any_instant(physics: SimulatedPlant) -> None:
    assert set(physics.topology.children) == {"incomer", "cleanroom-feeder"}
    for parent, children in physics.topology.children.items():
        for instant in odd_instants():
            below = sum(physics.power_kw(child, instant) for child in children)
            expected = below + physics.unmetered_kw(parent, instant)
            assert physics.power_kw(parent, instant) == pytest.approx(expected, abs=1e-9)


def test_reactive_power_balances_too(physics: SimulatedPlant) -> None:
    below = sum(
        physics.quantities(key, NOON_US)["reactive_power_kvar"] for key in physics.topology.children["cleanroom-feeder"]
    )
    assert physics.quantities("cleanroom-feeder", NOON_US)["reactive_power_kvar"] == pytest.approx(below, abs=1e-9)


def test_only_an_incomer_has_load_that_nobody_meters_and_it_is_small(physics: SimulatedPlant) -> None:
    assert list(physics.topology.unmetered) == ["incomer"]
    share = [physics.unmetered_kw("incomer", t) / physics.power_kw("incomer", t) for t in odd_instants(200)]
    assert 0.01 < np.mean(share) < 0.06


@pytest.mark.parametrize("key", ["incomer", "tools-feeder", "compressor-1-feeder", "pv-1-inverter", "cleanroom-mau"])
def test_energy_is_the_integral_of_power(physics: SimulatedPlant, key: str) -> None:
    start, end = NOON_US - 1_234_567, NOON_US + 3_600_000_000 + 765_432
    times = np.linspace(start, end, 400_001)
    power = physics.power_series_kw(key, times.astype(np.int64))
    hours = (end - start) / 3.6e9
    fine_import = np.clip(power, 0, None)[:-1].mean() * hours
    fine_export = np.clip(-power, 0, None)[:-1].mean() * hours
    true = physics.true_energy_kwh(key, start, end)
    assert true.import_kwh == pytest.approx(fine_import, rel=1e-5, abs=1e-9)
    assert true.export_kwh == pytest.approx(fine_export, rel=1e-5, abs=1e-9)


def test_counters_advance_by_the_true_energy(physics: SimulatedPlant) -> None:
    for key in physics.topology.nodes:
        before, after = physics.quantities(key, NOON_US), physics.quantities(key, NOON_US + 900_000_000)
        true = physics.true_energy_kwh(key, NOON_US, NOON_US + 900_000_000)
        for name, energy in (("energy_import_kwh", true.import_kwh), ("energy_export_kwh", true.export_kwh)):
            if name in before:
                assert after[name] - before[name] == pytest.approx(energy, abs=1e-6)


def test_energy_over_windows_adds_up_however_they_are_cut(physics: SimulatedPlant) -> None:
    cuts = sorted([NOON_US - DAY_US, *odd_instants(40), NOON_US + DAY_US])
    for key in ("incomer", "pv-1-inverter"):
        parts = [physics.true_energy_kwh(key, a, b) for a, b in pairwise(cuts)]
        whole = physics.true_energy_kwh(key, cuts[0], cuts[-1])
        assert sum(part.import_kwh for part in parts) == pytest.approx(whole.import_kwh, abs=1e-6)
        assert sum(part.export_kwh for part in parts) == pytest.approx(whole.export_kwh, abs=1e-6)


def test_energy_of_the_children_is_that_of_the_parent(physics: SimulatedPlant) -> None:
    def net(key: str) -> float:
        true = physics.true_energy_kwh(key, MIDNIGHT_US, MIDNIGHT_US + DAY_US)
        return true.import_kwh - true.export_kwh

    assert net("cleanroom-feeder") == pytest.approx(
        sum(map(net, physics.topology.children["cleanroom-feeder"])), abs=1e-6
    )


def test_the_same_seed_gives_the_same_plant_in_whatever_order_it_is_asked(
    simulate: Callable[[int], SimulatedPlant],
) -> None:
    forward, backward = simulate(5), simulate(5)
    instants = sorted(odd_instants(20))
    keys = list(forward.meters)
    asked = {(key, t): forward.quantities(key, t) for t in instants for key in keys}
    for t in reversed(instants):
        for key in reversed(keys):
            assert backward.quantities(key, t) == asked[key, t]


def test_another_seed_gives_another_plant(simulate: Callable[[int], SimulatedPlant]) -> None:
    one, other = simulate(5), simulate(6)
    window = (NOON_US, NOON_US + 3_600_000_000)
    assert all(one.true_energy_kwh(key, *window) != other.true_energy_kwh(key, *window) for key in one.topology.nodes)


def test_power_is_continuous_over_midnight_and_everywhere_else(physics: SimulatedPlant) -> None:
    times = MIDNIGHT_US + np.arange(-600_000_000, 600_000_000, 100_000, dtype=np.int64)  # every 0.1 s
    for key, node in physics.topology.nodes.items():
        steps = np.abs(np.diff(physics.power_series_kw(key, times)))
        rated = {"incomer": 5000.0, "cleanroom-feeder": 1300.0}.get(key, node.active.factor)
        assert steps.max() < 0.012 * rated, key  # a whole machine takes 10 s to load


def test_pv_is_zero_at_night_and_generates_by_day(physics: SimulatedPlant) -> None:
    days = MIDNIGHT_US + np.arange(0, 7 * DAY_US, 60_000_000, dtype=np.int64)
    for key in PV:
        assert physics.power_kw(key, NIGHT_US) == 0.0
        power = physics.power_series_kw(key, days)
        assert power.max() <= 0.0
        assert -500.0 <= power.min() < -300.0


def test_loads_move_plausibly_through_a_day(physics: SimulatedPlant) -> None:
    times = MIDNIGHT_US + np.arange(0, DAY_US, 60_000_000, dtype=np.int64)
    series = {key: physics.power_series_kw(key, times) for key in physics.topology.nodes}
    fans, tools = series["cleanroom-ffu"], series["tools-feeder"]
    assert fans.std() / fans.mean() < 0.02
    assert 0.02 < tools.std() / tools.mean() < 0.2
    assert series["cleanroom-lighting"].max() > 1.6 * series["cleanroom-lighting"].min()
    compressor = series["compressor-1-feeder"]
    assert (compressor.min(), compressor.max()) == (pytest.approx(70.0), pytest.approx(250.0))
    assert 2000 < series["incomer"].mean() < 3600
    assert series["incomer"].min() > 0


def test_electrical_quantities_agree_with_each_other(physics: SimulatedPlant) -> None:
    for key in ("incomer", "cleanroom-feeder", "cleanroom-ffu", "compressor-2-feeder", "pv-1-inverter"):
        names = (*physics.profile_of(key).quantities, "active_power_l1_kw", "active_power_l2_kw", "active_power_l3_kw")
        got = {n: float(v[0]) for n, v in physics.quantity_series(key, np.array([NOON_US]), names).items()}
        p, q, s = got["active_power_kw"], got["reactive_power_kvar"], got["apparent_power_kva"]
        assert s == pytest.approx(np.hypot(p, q))
        assert got["power_factor"] == pytest.approx(p / s)
        volt_amperes = sum(got[f"voltage_l{n}_n_v"] * got[f"current_l{n}_a"] for n in (1, 2, 3))
        assert volt_amperes / 1000 == pytest.approx(s)
        assert sum(got[f"active_power_l{n}_kw"] for n in (1, 2, 3)) == pytest.approx(p)
        nominal = 20_000 if key == "incomer" else 400
        assert got["voltage_l1_l2_v"] == pytest.approx(nominal, rel=0.03)
        assert got["voltage_l1_l2_v"] == pytest.approx(got["voltage_l1_n_v"] * 3**0.5, rel=0.005)
        assert got["frequency_hz"] == pytest.approx(50, abs=0.1)


def test_controllers_and_flow_meters_agree_with_the_feeder(physics: SimulatedPlant) -> None:
    times = NOON_US + np.arange(0, 1_800_000_000, 5_000_000, dtype=np.int64)
    power = physics.power_series_kw("compressor-1-feeder", times)
    load = (power / 250 - 0.28) / 0.72
    flow = physics.quantity_series("compressor-1-flow", times)
    controller = physics.quantity_series("compressor-1-controller", times)
    full = 250 / 6.6 * 60 * 0.9317
    assert flow["air_flow_nm3h"] == pytest.approx(full * load, abs=1e-6)
    hours = controller["loaded_hours_h"][-1] - controller["loaded_hours_h"][0]
    volume = flow["air_volume_nm3"][-1] - flow["air_volume_nm3"][0]
    assert volume == pytest.approx(full * hours, rel=1e-9)
    running = controller["running_hours_h"][-1] - controller["running_hours_h"][0]
    assert running == pytest.approx((times[-1] - times[0]) / 3.6e9)
    assert 0.3 * running < hours < running
    pressure = controller["discharge_pressure_bar"]
    assert pressure.min() >= 6.8
    assert pressure.max() <= 7.5
    steady = (load[1:] == 1) & (load[:-1] == 1)
    assert (np.diff(pressure)[steady] > 0).all()


def test_a_chillers_water_carries_the_heat_that_its_power_pays_for(physics: SimulatedPlant) -> None:
    names = ("chilled_water_entering_temperature_c", "chilled_water_leaving_temperature_c", "water_flow_m3h")
    series = physics.quantity_series("chiller-1-controller", np.array([NOON_US]), names)
    entering, leaving = float(series[names[0]][0]), float(series[names[1]][0])
    cooling_kw = 1000 * float(series[names[2]][0]) / 3600 * 4.186 * (entering - leaving)
    assert 4.0 < cooling_kw / physics.power_kw("chiller-1-feeder", NOON_US) < 8.0


def test_irradiance_and_pv_power_rise_together(physics: SimulatedPlant) -> None:
    times = MIDNIGHT_US + np.arange(0, DAY_US, 60_000_000, dtype=np.int64)
    light = physics.quantity_series("weather-pyranometer", times)["irradiance_w_m2"]
    power = -physics.power_series_kw("pv-1-inverter", times)
    assert np.corrcoef(light, power)[0, 1] > 0.99
    assert (power[light <= 0] == 0).all()


def mixed_plant() -> Plant:
    """A feeder with lamps and more sun than they need."""
    common = {"profile": "fleet_meter", "connection": "gateway"}
    return Plant(
        site=Site(name="Hall", time_zone="Europe/Berlin", carbon_region="DE"),
        areas=(Area(key="hall", name="Hall"),),
        assets=(
            Asset(key="feeder", name="Feeder", kind=AssetKind.FEEDER, area="hall"),
            Asset(key="lamps", name="Lamps", kind=AssetKind.LIGHTING, area="hall", rated_power_kw=20),
            Asset(key="roof", name="Roof", kind=AssetKind.PV_INVERTER, area="hall", rated_power_kw=100),
        ),
        connections=(ModbusTcpConnection(key="gateway", host="127.0.0.1"),),
        meters=(
            Meter(key="feeder", name="Feeder", asset="feeder", unit_id=1, **common),
            Meter(key="lamps", name="Lamps", asset="lamps", unit_id=2, parent="feeder", **common),
            Meter(key="roof", name="Roof", asset="roof", unit_id=3, parent="feeder", **common),
        ),
    )


def test_a_bus_that_turns_round_counts_each_direction_by_itself() -> None:
    physics = SimulatedPlant(mixed_plant(), {"fleet_meter": fleet_profile()}, 1, anchor=ANCHOR)
    start, end = MIDNIGHT_US, MIDNIGHT_US + DAY_US
    power = physics.power_series_kw("feeder", np.linspace(start, end, 2_000_001).astype(np.int64))
    assert power.min() < 0 < power.max()
    true = physics.true_energy_kwh("feeder", start, end)
    assert true.import_kwh == pytest.approx(np.clip(power, 0, None).mean() * 24, rel=1e-5)
    assert true.export_kwh == pytest.approx(np.clip(-power, 0, None).mean() * 24, rel=1e-5)


def test_a_clock_change_moves_the_shift_and_breaks_nothing() -> None:
    """Europe/Berlin, 2026-03-29 01:00 UTC."""
    physics = SimulatedPlant(mixed_plant(), {"fleet_meter": fleet_profile()}, 1, anchor=ANCHOR)
    change = 1_774_746_000_000_000
    lamps = [physics.power_kw("lamps", change + minutes * 60_000_000) for minutes in (-1215, 225, 255)]
    assert lamps[0] < 13 < lamps[2]  # 05:45 summer time is still 05:45, but the shift at 06:30 comes an hour earlier
    assert lamps[1] > lamps[0]


def test_the_truth_of_a_meter_without_power_is_refused(physics: SimulatedPlant) -> None:
    with pytest.raises(KeyError):
        physics.true_energy_kwh("cleanroom-climate", NOON_US, NOON_US + 1)
    with pytest.raises(ValueError, match="before it begins"):
        physics.true_energy_kwh("incomer", NOON_US, NOON_US - 1)


def test_a_disturbance_holds_a_gauge_for_its_time_and_no_longer(example: LoadedPlant) -> None:
    fault = Disturbance("cleanroom-climate", "room_pressure_pa", NOON_US, 30.0, 4.0)
    quiet = SimulatedPlant(example.plant, example.profiles, 1, anchor=ANCHOR)
    disturbed = SimulatedPlant(example.plant, example.profiles, 1, anchor=ANCHOR, disturbances=[fault])
    times = NOON_US + np.array([-1, 0, 29_999_999, 30_000_000], dtype=np.int64)
    shown = disturbed.quantity_series("cleanroom-climate", times)["room_pressure_pa"]
    usual = quiet.quantity_series("cleanroom-climate", times)["room_pressure_pa"]
    assert shown.tolist() == [usual[0], 4.0, 4.0, usual[3]]
    assert usual.min() > 18


@pytest.mark.parametrize(
    ("meter", "quantity", "words"),
    [
        ("nobody", "room_pressure_pa", "no such meter"),
        ("cleanroom-climate", "active_power_kw", "has no active_power_kw"),
        ("incomer", "active_power_kw", "energy balance"),
        ("incomer", "energy_import_kwh", "energy balance"),
    ],
)
def test_a_disturbance_that_would_break_the_truth_is_refused(
    example: LoadedPlant, meter: str, quantity: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        SimulatedPlant(
            example.plant, example.profiles, anchor=ANCHOR, disturbances=[Disturbance(meter, quantity, 0, 1.0, 0.0)]
        )


def test_meters_that_are_each_others_parents_are_refused(example: LoadedPlant) -> None:
    meters = tuple(
        meter.model_copy(update={"parent": "cleanroom-feeder"}) if meter.key == "incomer" else meter
        for meter in example.plant.meters
    )
    with pytest.raises(ConfigurationError, match="each other's parents"):
        SimulatedPlant(example.plant.model_copy(update={"meters": meters}), example.profiles, anchor=ANCHOR)


def test_the_resolution_of_counters_is_that_of_their_registers(physics: SimulatedPlant) -> None:
    assert physics.counter_count_kwh("incomer") == pytest.approx(0.001)
    assert physics.counter_count_kwh("chiller-2-feeder") == pytest.approx(0.1)
    assert physics.counter_count_kwh("compressor-1-feeder") == pytest.approx(0.01)
    assert physics.counter_count_kwh("pv-1-inverter") == pytest.approx(0.001)
    assert physics.counter_count_kwh("cleanroom-ffu") == pytest.approx(0.01)
    shown = physics.quantities("cleanroom-ffu", NOON_US)["energy_import_kwh"]
    assert physics.counter_count_kwh("cleanroom-ffu", NOON_US) == max(0.01, float(np.spacing(np.float32(shown))))
    assert physics.counter_count_kwh("cleanroom-climate") == 0.0
