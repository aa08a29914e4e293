"""What a right reading obeys, and a wrong one does not."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.commissioning.evidence import verdict_on

FEEDER: dict[str, float | None] = {
    "voltage_l1_n_v": 230.4,
    "voltage_l2_n_v": 229.8,
    "voltage_l3_n_v": 231.0,
    "voltage_l1_l2_v": 398.6,
    "voltage_l2_l3_v": 399.1,
    "voltage_l3_l1_v": 399.4,
    "current_l1_a": 120.0,
    "current_l2_a": 118.0,
    "current_l3_a": 121.5,
    "active_power_l1_kw": 26.0,
    "active_power_l2_kw": 25.5,
    "active_power_l3_kw": 26.4,
    "active_power_kw": 77.9,
    "reactive_power_kvar": 28.0,
    "apparent_power_kva": 82.8,
    "power_factor": 0.94,
    "frequency_hz": 49.98,
    "energy_import_kwh": 123456.7,
}


def test_a_healthy_feeder_is_believed() -> None:
    assert verdict_on(FEEDER).score == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("wrong", "because"),
    [
        ({"frequency_hz": 3.2e-41}, "frequency"),
        ({"frequency_hz": 4998.0}, "frequency"),
        ({name: value / 10 for name, value in FEEDER.items() if value and name.startswith("voltage")}, "voltages"),
        ({"active_power_kw": 7.79}, "phases"),
        ({"apparent_power_kva": 828.0}, "P and Q"),
        ({"voltage_l1_l2_v": 230.0, "voltage_l2_l3_v": 230.0, "voltage_l3_l1_v": 230.0}, "line over phase"),
    ],
)
def test_what_contradicts_physics_costs_belief_and_is_named(wrong: dict[str, float], because: str) -> None:
    verdict = verdict_on(FEEDER | wrong)
    assert verdict.score < 0.9
    assert any(because in each.what and each.score < 0.5 for each in verdict.evidence)


def test_a_device_that_reads_0_everywhere_is_not_believed() -> None:
    assert verdict_on(dict.fromkeys(FEEDER, 0.0)).score < 0.4


def test_nothing_decoded_is_worth_nothing() -> None:
    assert verdict_on(dict.fromkeys(FEEDER)).score == 0.0
    assert verdict_on({}).score == 0.0


@given(
    phase_v=st.sampled_from([57.7, 120.0, 230.0, 277.0, 400.0]),
    hertz=st.sampled_from([50.0, 60.0]),
    kilowatts=st.floats(1.0, 5000.0),
    factor=st.floats(0.5, 1.0),
)
def test_floats_with_their_words_exchanged_are_never_likelier(
    phase_v: float, hertz: float, kilowatts: float, factor: float
) -> None:
    apparent = kilowatts / factor
    right = {
        **{f"voltage_l{n}_n_v": phase_v for n in (1, 2, 3)},
        "frequency_hz": hertz + 0.013,
        "active_power_kw": kilowatts,
        "reactive_power_kvar": math.sqrt(max(apparent**2 - kilowatts**2, 0.0)),
        "apparent_power_kva": apparent,
        "power_factor": factor,
    }
    exchanged: dict[str, float | None] = {}
    for name, value in right.items():
        raw = struct.pack(">f", value)
        (swapped,) = struct.unpack(">f", raw[2:] + raw[:2])
        exchanged[name] = swapped
    assert verdict_on(dict(right)).score > verdict_on(exchanged).score
