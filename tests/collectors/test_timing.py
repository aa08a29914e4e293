"""Predicted durations and loads against numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.modbus.load import ConnectionLoad, MeterLoad, PolledMeter, connection_load, due_rates
from collectors.modbus.reads import Reads
from collectors.modbus.schedule import Ticks
from collectors.modbus.timing import Network, SerialLine, gap_registers, medium_of, request_s
from emsd.collector import PlanEfficiency
from emsd.plant.modbus_connections import ModbusRtuConnection, ModbusRtuOverTcpConnection, ModbusTcpConnection
from emsd.plant.modbus_map import ModbusMap

TCP = ModbusTcpConnection(key="c", host="127.0.0.1")


def serial(**settings: Any) -> ModbusRtuConnection:
    return ModbusRtuConnection.model_validate({"key": "c", "device": "/dev/ttyUSB0", **settings})


def registers(*points: tuple[str, int, str] | tuple[str, int, str, float], **settings: Any) -> ModbusMap:
    fields = ("quantity", "address", "type", "interval_s")
    return ModbusMap.model_validate({"points": [dict(zip(fields, each, strict=False)) for each in points], **settings})


def two_reads(**settings: Any) -> ModbusMap:
    """Two requests of 60 registers each."""
    return registers(
        ("voltage_l1_n_v", 0, "f32"),
        ("voltage_l2_n_v", 58, "f32"),
        ("voltage_l3_n_v", 100, "f32"),
        ("frequency_hz", 158, "f32"),
        **({"max_registers": 60, "max_gap_registers": 60} | settings),
    )


@pytest.mark.parametrize(
    ("settings", "count", "milliseconds"),
    [
        # 133 characters of 10 bits, and twice 3.5: 140 x 10 / 9600.
        ({"baud_rate": 9600}, 60, 145.833333),
        # 33 characters of 11 bits, and twice 3.5: 40 x 11 / 19200.
        ({"baud_rate": 19_200, "parity": "even"}, 10, 22.916667),
        # 263 characters of 10 bits at 115200, and twice 1.75 ms.
        ({"baud_rate": 115_200}, 125, 22.829861 + 3.5),
        # 15 characters of 12 bits (start, 8, parity, 2 stop), and twice 3.5: 22 x 12 / 2400.
        ({"baud_rate": 2400, "parity": "odd", "stop_bits": 2}, 1, 110.0),
    ],
)
def test_a_request_on_a_line_takes_what_its_characters_take(
    settings: dict[str, Any], count: int, milliseconds: float
) -> None:
    medium = medium_of(serial(**settings), 5)
    assert request_s(medium, count, 0.0) == pytest.approx(milliseconds / 1000, abs=1e-9)
    assert request_s(medium, count, 0.04, 0.05) == pytest.approx(milliseconds / 1000 + 0.09, abs=1e-9)
    assert request_s(medium, count, None) == pytest.approx(milliseconds / 1000 + 0.02, abs=1e-9)


@pytest.mark.parametrize(
    ("units", "given_by_hand", "milliseconds"),
    [
        (1, {}, 2.0),
        (2, {}, 10.0),
        (1, {"round_trip_s": 0.03}, 30.0),
        (9, {"round_trip_s": 0.03}, 30.0),
        # 140 characters of 11 bits at 9600 baud, 20 ms for the device, and the round trip of the network.
        (2, {"gateway_baud_rate": 9600}, 2.0 + 160.416667 + 20.0),
        (2, {"gateway_baud_rate": 9600, "round_trip_s": 0.005}, 5.0 + 160.416667 + 20.0),
        (1, {"gateway_baud_rate": 9600}, 2.0),
    ],
)
def test_a_request_over_a_network_takes_its_round_trip(
    units: int, given_by_hand: dict[str, Any], milliseconds: float
) -> None:
    medium = medium_of(TCP, units, **given_by_hand)
    assert request_s(medium, 60, None) == pytest.approx(milliseconds / 1000, abs=1e-9)


def test_a_device_server_has_a_line_even_for_one_unit() -> None:
    connection = ModbusRtuOverTcpConnection(key="c", host="127.0.0.1")
    assert medium_of(connection, 1) == Network(0.01)
    assert medium_of(connection, 1, gateway_baud_rate=9600) == Network(0.002, SerialLine(9600))


def test_a_hole_is_read_through_when_that_costs_less_than_a_request() -> None:
    for connection in (serial(), serial(baud_rate=2400), serial(baud_rate=19_200, parity="even")):
        for response_s in (0.001, 0.02):
            made_of = registers(("frequency_hz", 0, "u16"), response_time_s=response_s)
            gap = gap_registers(connection, made_of)
            medium = medium_of(connection, 1)
            assert gap is not None
            apart_s = 2 * request_s(medium, 1, response_s)
            assert request_s(medium, 2 + gap, response_s) <= apart_s < request_s(medium, 3 + gap, response_s)
    slow = registers(("frequency_hz", 0, "u16"), response_time_s=1.0)
    assert gap_registers(serial(), slow) == 32
    assert gap_registers(TCP, slow) is None


def test_the_load_of_a_line_is_its_requests_by_hand() -> None:
    made_of = two_reads(response_time_s=0.04)
    load = connection_load([PolledMeter("a", made_of, 1.0), PolledMeter("b", made_of, 5.0)], medium_of(serial(), 2))
    # Two requests of 145.833 ms and 40 ms for the device: 371.667 ms a poll.
    assert load.meters[0].poll_s == pytest.approx(0.371667, abs=1e-6)
    assert load.cycle_s == pytest.approx(0.743333, abs=1e-6)
    assert load.utilisation == pytest.approx(0.371667 * 1.2, abs=1e-6)
    assert load.requests_per_s == pytest.approx(2.4)
    assert load.plan == PlanEfficiency(requests=4, registers_wanted=16, registers_read=240)
    assert load.attainable_interval_s() == 0.0
    assert load.skipped_shares() == (0.0, 0.0)


def test_slower_rates_and_parameters_count_as_often_as_they_are_read() -> None:
    made_of = registers(
        ("active_power_kw", 0, "i16"),
        ("energy_import_kwh", 1, "u32", 10),
        ("voltage_thd_percent", 500, "u16", 60),
        parameters=[{"name": "ratio", "address": 900, "type": "u32", "interval_s": 20}],
        response_time_s=0.1,
    )
    (meter,) = connection_load([PolledMeter("a", made_of, 1.0)], Network(0.0)).meters
    # Every second one request, the counters in it or not; every 60 s one more, every 20 s the parameter.
    assert meter.requests_per_s == pytest.approx(1 + 1 / 60 + 1 / 20)
    assert meter.poll_s == pytest.approx(0.1 * (1 + 1 / 60 + 1 / 20))
    assert meter.full_poll_s == pytest.approx(0.3)
    assert meter.plan == PlanEfficiency(requests=2, registers_wanted=4, registers_read=4)


def test_a_pause_that_one_device_wants_is_kept_with_all_of_its_connection() -> None:
    hasty, slow = two_reads(), two_reads(pause_between_requests_s=0.05, pause_after_connect_s=1.5, timeout_s=5.0)
    load = connection_load(
        [PolledMeter("a", hasty, 1.0), PolledMeter("b", slow, 1.0)], Network(0.01), timeout_s=2.0, retries=1
    )
    assert load.cycle_s == pytest.approx(4 * 0.06)
    assert [meter.timeout_s for meter in load.meters] == [2.0, 5.0]
    # The longest timeout, the pause after connecting again, and everybody's poll.
    assert load.delay_by_silent_s == pytest.approx(5.0 + 1.5 + 0.24)
    assert load.given_up_after_s == pytest.approx(2 * 6.74)


@given(
    st.sampled_from([0.1, 0.2, 1.0, 2.0, 5.0]),
    st.lists(st.sampled_from([7.0, 10.0, 15.0, 60.0, 90.0]), unique=True, max_size=3).map(sorted),
)
def test_rates_come_due_together_as_ticks_count_their_periods(interval_s: float, rates_s: list[float]) -> None:
    rates = tuple(rates_s)
    predicted = due_rates(interval_s, rates)
    assert math.isclose(sum(predicted.values()), 1.0)
    ticks = Ticks("m", interval_s)
    span = round(math.lcm(*(round(rate * 10) for rate in (interval_s, *rates))) / 10 / interval_s)
    seen: dict[tuple[float, ...], int] = {}
    # The tick itself is where the schedule's own phase begins.
    phase_us = round((interval_s - ticks._until_next_s(0)) * 1e6)
    last = [ticks.period_number(rate, -phase_us) for rate in rates]
    for tick in range(1, span + 1):
        now = [ticks.period_number(rate, round(tick * interval_s * 1e6) - phase_us) for rate in rates]
        due = tuple(rate for rate, before, after in zip(rates, last, now, strict=True) if before != after)
        seen[due] = seen.get(due, 0) + 1
        last = now
    assert {due: pytest.approx(count / span) for due, count in seen.items()} == predicted


def load_of(*meters: tuple[float, float]) -> ConnectionLoad:
    """A connection with meters of (interval, duration of a poll) [s]."""
    loads = (
        MeterLoad(f"m{at}", interval_s, 1.0, poll_s, poll_s, 1 / interval_s, PlanEfficiency())
        for at, (interval_s, poll_s) in enumerate(meters)
    )
    return ConnectionLoad(tuple(loads), retries=0, pause_after_connect_s=0.0)


@pytest.mark.parametrize(
    ("meters", "skipped"),
    [
        # There is time enough.
        ([(1.0, 0.09)] * 10, [0.0] * 10),
        # Twice the time that there is: each is served every 2 s.
        ([(1.0, 0.2)] * 10, [0.5] * 10),
        # One poll takes longer than a tick: it is over in the middle of the next, and begins again with the one after.
        ([(1.0, 1.5)], [0.5]),
        ([(1.0, 2.5)], [2 / 3]),
        # The fast ones are skipped; the slow one still has its turn in every interval.
        ([(1.0, 0.5)] * 3 + [(60.0, 0.5)], [1 / 3] * 3 + [0.0]),
        # Half of the time is unused, but each poll of the slow meter takes three ticks of the fast one.
        ([(1.0, 0.1), (10.0, 4.0)], [0.3, 0.0]),
    ],
)
def test_the_skipped_share_is_what_the_queue_cannot_serve(
    meters: list[tuple[float, float]], skipped: list[float]
) -> None:
    assert load_of(*meters).skipped_shares() == pytest.approx(skipped, abs=0.02)


@given(st.lists(st.tuples(st.sampled_from([0.5, 1.0, 5.0, 10.0, 60.0]), st.floats(0.01, 2.0)), min_size=1, max_size=12))
def test_at_the_attainable_interval_a_connection_is_just_busy(meters: list[tuple[float, float]]) -> None:
    load = load_of(*meters)
    for goal in (1.0, 0.8):
        interval_s = load.attainable_interval_s(goal)
        slowed = sum(poll_s / max(own_s, interval_s) for own_s, poll_s in meters)
        assert slowed == pytest.approx(min(goal, load.utilisation))


def test_the_prediction_plans_as_the_collector_will() -> None:
    made_of = registers(("voltage_l1_n_v", 0, "f32"), ("frequency_hz", 20, "f32"))
    gap = gap_registers(serial(), made_of)
    (meter,) = connection_load([PolledMeter("a", made_of, 1.0)], medium_of(serial(), 1), gap_registers=[gap]).meters
    assert gap == 19
    assert meter.plan == Reads(made_of, 1.0, None, gap_registers=gap).efficiency()
    assert meter.plan.requests == 1
