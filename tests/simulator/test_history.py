from __future__ import annotations

import struct
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from emsd.plant.loader import LoadedPlant
from emsd.quantities import BY_NAME, RUN_STATE_CODES, Kind, RunState
from emsd.readings import Quality, columns, instant_us
from simulator import SimulatedPlant, Simulator, history
from simulator.history import readable_series

MIDNIGHT_US = instant_us(datetime(2026, 6, 3, tzinfo=UTC))
HOUR_US = 3_600_000_000


def ids(physics: SimulatedPlant) -> dict[str, int]:
    return {key: 1_000_001 + place for place, key in enumerate(physics.meters)}


def test_every_meter_has_a_reading_at_every_step_in_the_columns_of_its_profile(physics: SimulatedPlant) -> None:
    numbers = ids(physics)
    readings = [r for batch in history(physics, numbers, MIDNIGHT_US, MIDNIGHT_US + HOUR_US, 60) for r in batch]
    assert len(readings) == 60 * len(numbers)
    assert len({(r.meter_id, r.time_us) for r in readings}) == len(readings)
    for key, number in numbers.items():
        own = [r for r in readings if r.meter_id == number]
        assert [r.time_us for r in own] == list(range(MIDNIGHT_US, MIDNIGHT_US + HOUR_US, 60_000_000))
        assert all(r.columns is columns(*physics.profile_of(key).quantities) for r in own)


def test_batches_are_bounded_and_follow_each_other_in_time(physics: SimulatedPlant) -> None:
    batches = list(history(physics, ids(physics), MIDNIGHT_US, MIDNIGHT_US + 3 * HOUR_US, 5))
    assert len(batches) > 1
    assert all(len(batch) <= 20_000 for batch in batches)
    for before, after in pairwise(batches):
        assert max(r.time_us for r in before) < min(r.time_us for r in after)


def test_history_says_that_it_is_history_and_all_of_it_is_plausible(physics: SimulatedPlant) -> None:
    for batch in history(physics, ids(physics), MIDNIGHT_US, MIDNIGHT_US + 24 * HOUR_US, 600):
        for reading in batch:
            assert reading.quality == Quality.SIMULATED_HISTORY
            for name, value in reading.items():
                assert value is not None
                assert BY_NAME[name].minimum <= value <= BY_NAME[name].maximum, (reading.meter_id, name, value)


def test_counters_never_go_back_and_end_within_a_count_of_the_truth(physics: SimulatedPlant) -> None:
    times = MIDNIGHT_US + np.arange(0, 24 * HOUR_US + 1, 60_000_000, dtype=np.int64)
    for key in physics.meters:
        for name, values in readable_series(physics, key, times).items():
            if BY_NAME[name].kind is Kind.COUNTER:
                assert (np.diff(values) >= 0).all(), (key, name)
        if key not in physics.topology.nodes:
            continue
        series = readable_series(physics, key, times)
        true = physics.true_energy_kwh(key, int(times[0]), int(times[-1]))
        count = physics.counter_count_kwh(key, int(times[-1]))
        for name, energy in (("energy_import_kwh", true.import_kwh), ("energy_export_kwh", true.export_kwh)):
            if name in series:
                assert series[name][-1] - series[name][0] == pytest.approx(energy, abs=1.01 * count)


def test_run_states_are_canonical_codes(physics: SimulatedPlant) -> None:
    times = MIDNIGHT_US + np.arange(0, 24 * HOUR_US, 600_000_000, dtype=np.int64)
    for name in ("chiller-1-controller", "chiller-2-controller"):
        states = set(readable_series(physics, name, times)["run_state"])
        assert states <= {RUN_STATE_CODES[RunState.RUNNING], RUN_STATE_CODES[RunState.OFF]}
        assert RUN_STATE_CODES[RunState.RUNNING] in states
    inverter = readable_series(physics, "pv-1-inverter", times)["run_state"]
    assert set(inverter) == {RUN_STATE_CODES[RunState.RUNNING], RUN_STATE_CODES[RunState.OFF]}


async def test_history_equals_what_is_on_the_wire_at_the_same_instant(
    example: LoadedPlant, physics: SimulatedPlant
) -> None:
    noon = MIDNIGHT_US + 5 * HOUR_US
    meters = tuple(meter for meter in example.plant.meters if meter.connection == "substation")
    plant = example.plant.model_copy(update={"meters": example.plant.meters})
    assert meters
    simulator = Simulator(plant, example.profiles, anchor=datetime(2026, 6, 1, tzinfo=UTC), now_us=lambda: noon)
    unit = simulator.endpoints["substation"].units[1]
    block = unit.read(3, 2999, 112)
    energy = unit.read(3, 3203, 4)
    assert isinstance(block, bytes)
    assert isinstance(energy, bytes)
    past = readable_series(physics, "incomer", np.array([noon], dtype=np.int64))
    assert struct.unpack_from(">f", block, 2 * 60)[0] == past["active_power_kw"][0]
    assert struct.unpack(">q", energy)[0] * 0.001 == past["energy_import_kwh"][0]


def test_only_the_meters_that_are_named_are_written(physics: SimulatedPlant) -> None:
    (batch,) = history(physics, {"incomer": 7}, MIDNIGHT_US, MIDNIGHT_US + 60_000_000, 10)
    assert {r.meter_id for r in batch} == {7}
    assert len(batch) == 6


def test_a_history_before_the_counters_began_is_refused(physics: SimulatedPlant) -> None:
    start = MIDNIGHT_US - 24 * 30 * HOUR_US
    with pytest.raises(ValueError, match="give the plant an earlier anchor"):
        list(history(physics, {"cleanroom-ffu": 1}, start, start + HOUR_US, 60))
    with pytest.raises(ValueError, match="step_s"):
        list(history(physics, {"incomer": 1}, MIDNIGHT_US, MIDNIGHT_US + HOUR_US, 0))
