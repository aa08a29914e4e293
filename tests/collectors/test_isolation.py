"""A dead unit costs those who share its line one short probe a period, and nothing else."""

from __future__ import annotations

import pytest

from collectors.modbus import open_collector
from collectors.modbus.backing_off import Absence
from collectors.modbus.courtesy import SHORTEST_PROBE_S, WHOLE_SHARE, Courtesy
from emsd.collector import Collector, MeterHealth, MeterState
from tests.collectors.bank import Bank
from tests.collectors.support import (
    MemorySink,
    bound,
    eventually,
    modbus_connection,
    profile_of,
    running,
    scripted_server,
)

POWER = {"quantity": "active_power_kw", "address": 10, "type": "u16"}
STARTS = {"quantity": "starts_count", "address": 900, "type": "u16"}
CAPACITY = {"quantity": "capacity_percent", "address": 1500, "type": "u16"}


def health_of(collector: Collector, meter_id: int) -> MeterHealth:
    (health,) = [health for health in collector.health() if health.meter_id == meter_id]
    return health


async def test_of_40_units_behind_a_gateway_8_are_dead_and_the_32_others_keep_their_rate() -> None:
    live, dead = range(1, 33), range(33, 41)
    bank, sink = Bank.of(*({10: unit, 900: unit} for unit in range(1, 41))), MemorySink()
    bank.silent.update(dead)
    made_of = profile_of([POWER, STARTS])
    async with scripted_server(bank) as port:
        meters = [bound(unit, made_of, unit=unit, poll_interval_s=0.5) for unit in (*dead, *live)]
        collector = open_collector(modbus_connection(port, timeout_s=0.1, retries=0), meters, sink)
        async with running(collector):
            await eventually(lambda: all(health_of(collector, unit).polls_failed >= 3 for unit in dead))
        healths = {health.meter_id: health for health in collector.health()}
    for unit in dead:
        # One request a probe, whatever the plan; and far fewer probes than ticks.
        assert healths[unit].requests == healths[unit].polls_failed
        assert healths[unit].polls_failed < healths[unit].polls_expected / 2
        assert healths[unit].state is MeterState.DOWN
        assert not sink.of(unit)
    for unit in live:
        assert healths[unit].polls_failed == healths[unit].polls_partial == 0
        assert {reading.value("active_power_kw") for reading in sink.of(unit)} == {float(unit)}
    served = sum(healths[unit].polls_ok for unit in live)
    # With a timeout for each dead unit and tick there would be time for less than half of them.
    assert served >= 0.7 * sum(healths[unit].polls_expected for unit in live)


async def test_a_probe_that_is_answered_becomes_the_whole_poll_at_once() -> None:
    bank, sink = Bank.of({10: 1, 900: 2, 1500: 3}), MemorySink()
    bank.silent.add(1)
    async with scripted_server(bank) as port:
        meter = bound(1, profile_of([POWER, STARTS, CAPACITY]), unit=1, poll_interval_s=0.5)
        collector = open_collector(modbus_connection(port, timeout_s=0.05, retries=0), [meter], sink)
        async with running(collector):
            await eventually(lambda: health_of(collector, 1).polls_failed >= 2)
            probes = len(bank.asked)
            assert probes == health_of(collector, 1).polls_failed
            bank.silent.clear()
            await eventually(lambda: bool(sink.offered))
    assert sorted(address for _, address, _ in bank.asked[probes : probes + 3]) == [10, 900, 1500]
    assert all(value is not None for value in sink.offered[0].values)


@pytest.mark.parametrize("how", ["silent", "refused"])
async def test_a_meter_that_is_down_is_found_again_though_its_first_block_never_answers(how: str) -> None:
    bank, sink = Bank.of({10: 1, 900: 2, 1500: 3}), MemorySink()
    if how == "silent":
        bank.silent.add(1)
    else:
        bank.refuses[1] = 4
    async with scripted_server(bank) as port:
        meter = bound(1, profile_of([POWER, STARTS, CAPACITY]), unit=1, poll_interval_s=0.2)
        collector = open_collector(modbus_connection(port, timeout_s=0.05, retries=0), [meter], sink)
        async with running(collector):
            await eventually(lambda: health_of(collector, 1).state is MeterState.DOWN)
            bank.silent, bank.refuses = ({(1, 10)}, {}) if how == "silent" else (set(), {(1, 10): 4})
            await eventually(lambda: bool(sink.offered))
    assert sink.offered[0].value("active_power_kw") is None
    assert {"starts_count", "capacity_percent"} & set(sink.offered[0].columns)


def test_a_probe_waits_as_long_as_the_device_is_known_to_need() -> None:
    absence = silent_beside_others(timeout_s=2.0, answers_s=(0.1, 0.02))
    assert [absence.wait_s(1.0) for _ in range(3)] == [0.5] * 3
    # Once it answers, what follows may take its time.
    absence.heard(0.02)
    assert absence.wait_s(1.0) == 2.0


def test_a_probe_is_never_shorter_than_a_network_needs_nor_longer_than_the_timeout() -> None:
    for answer_s, timeout_s, wait_s in ((0.001, 1.0, SHORTEST_PROBE_S), (0.9, 1.0, 1.0), (0.001, 0.1, 0.1)):
        assert silent_beside_others(timeout_s=timeout_s, answers_s=(answer_s,)).wait_s(1.0) == wait_s


def test_a_unit_that_was_never_met_is_given_what_the_slowest_of_its_line_needs() -> None:
    courtesy = Courtesy(units=3)
    never_met, slow, fast = (Absence(1.0, 2.0, None, courtesy) for _ in range(3))
    never_met.failed(0.0, 0)
    # Nobody has answered yet, so nobody is kept waiting.
    assert never_met.wait_s(0.0) == 2.0
    slow.heard(0.12)
    fast.heard(0.01)
    assert never_met.wait_s(0.0) == 2.0
    assert never_met.wait_s(1.0) == pytest.approx(0.6)


def test_however_many_units_are_silent_whole_timeouts_take_half_a_percent_of_the_line() -> None:
    courtesy, timeout_s, lasts_s = Courtesy(units=40), 1.0, 7200
    met = Absence(1.0, timeout_s, None, courtesy)
    met.heard(0.02)
    silent = [Absence(1.0, timeout_s, None, courtesy) for _ in range(8)]
    for each in silent:
        each.failed(0.0, 0)
    waits = {each: [silent[each].wait_s(float(now)) for now in range(each, lasts_s, 8)] for each in range(8)}
    whole = [sum(wait_s == timeout_s for wait_s in each) for each in waits.values()]
    assert sum(whole) * timeout_s == pytest.approx(WHOLE_SHARE * lasts_s)


def test_a_unit_alone_on_its_line_is_always_given_the_whole_timeout() -> None:
    absence = Absence(1.0, 1.0, None, Courtesy(units=1))
    absence.heard(0.02)
    for _ in range(20):
        absence.failed(0.0, 0)
        assert absence.wait_s(0.0) == 1.0


def test_a_meter_that_never_answered_is_asked_less_often() -> None:
    absence = Absence(1.0, 1.0, None)
    for _ in range(20):
        absence.failed(0.0, 0)
    assert 150.0 <= absence.not_before <= 300.0


def silent_beside_others(*, timeout_s: float, answers_s: tuple[float, ...]) -> Absence:
    """A unit that has answered and is silent now, on a line whose next whole timeout is far away."""
    courtesy = Courtesy(units=2)
    absence = Absence(1.0, timeout_s, None, courtesy)
    for answer_s in answers_s:
        absence.heard(answer_s)
    assert absence.wait_s(0.0) == timeout_s
    absence.failed(0.0, 0)
    assert absence.wait_s(0.0) == timeout_s
    return absence
