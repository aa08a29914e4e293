"""Who answers, and with which settings: asked at first contact, after an absence, and over a new connection."""

from __future__ import annotations

import struct

import pytest
from structlog.testing import capture_logs

from collectors.modbus import acquaintance, backing_off, open_collector
from emsd.collector import BoundMeter, Collector, DeviceIdentity, MeterHealth, MeterState
from emsd.readings import Quality
from tests.collectors.bank import Bank
from tests.collectors.support import (
    MemorySink,
    bound,
    eventually,
    modbus_connection,
    packed,
    profile_of,
    running,
    scripted_server,
)

POWER = {"quantity": "active_power_kw", "address": 10, "type": "u16"}
MODEL = {"what": "model", "address": 100, "type": "text", "registers": 4}
SERIAL = {"what": "serial", "address": 110, "type": "u32"}
RATIO = {"name": "ct_ratio", "address": 120, "type": "u16", "interval_s": 0.15, "minimum": 1}


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backing_off, "FIRST_WAIT_S", 0.1)


def text(address: int, words: str, registers: int = 4) -> dict[int, int]:
    return packed(address, f">{2 * registers}B", *words.encode().ljust(2 * registers, b"\0"))


def device_registers(model: str = "SDM630", serial: int = 4711, ratio: int = 20) -> dict[int, int]:
    return {10: 42, 120: ratio} | text(100, model) | packed(110, ">I", serial)


def meter_of(*identity: dict[str, object], unit: int = 1, serial: str | None = None, **modbus: object) -> BoundMeter:
    points = [{**POWER, "times": ["ct_ratio"]}] if "parameters" in modbus else [POWER]
    made_of = profile_of(points, identity=list(identity), **modbus)
    return bound(unit, made_of, unit=unit, serial=serial, poll_interval_s=0.1)


def health_of(collector: Collector, meter_id: int = 1) -> MeterHealth:
    (health,) = [health for health in collector.health() if health.meter_id == meter_id]
    counted = health.polls_ok + health.polls_partial + health.polls_failed + health.polls_skipped
    assert health.polls_expected == counted
    return health


async def test_a_device_is_asked_who_it_is_once_before_its_first_poll() -> None:
    bank, sink = Bank.of(device_registers()), MemorySink()
    async with scripted_server(bank) as port:
        meter = meter_of({**MODEL, "expect": "SDM630.*"}, SERIAL, serial="4711")
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 5)
        health = health_of(collector)
    assert [(meter_id, identity) for meter_id, identity, _ in sink.identities] == [
        (1, DeviceIdentity(serial="4711", model="SDM630"))
    ]
    assert sink.identities[0][2] <= sink.offered[0].time_us
    assert bank.asked[:3] == [(1, 100, 4), (1, 110, 2), (1, 10, 1)]
    assert set(bank.asked[2:]) == {(1, 10, 1)}
    assert health.state is MeterState.OK


@pytest.mark.parametrize(
    ("identity", "serial", "says"),
    [
        ({**MODEL, "expect": "SDM630.*"}, None, "says it is model 'SDM120', the profile expects 'SDM630.*'"),
        (SERIAL, "4712", "says it is serial '4711', the plant's description says '4712'"),
        ({**MODEL, "address": 130, "expect": "SDM6.*"}, None, "says no model, the profile expects 'SDM6.*'"),
    ],
)
async def test_of_a_wrong_device_no_value_is_taken_and_it_says_what_is_wrong(
    identity: dict[str, object], serial: str | None, says: str
) -> None:
    bank, sink = Bank.of(device_registers("SDM120") | dict.fromkeys(range(130, 134), 0)), MemorySink()
    async with scripted_server(bank) as port:
        collector = open_collector(modbus_connection(port), [meter_of(identity, serial=serial)], sink)
        async with running(collector):
            await eventually(lambda: health_of(collector).polls_failed >= 2)
        health = health_of(collector)
    assert health.state is MeterState.WRONG
    assert health.last_error == (
        f"meter m1: the device at unit 1 {says}; check wiring, unit id or the plant's description"
    )
    assert health.errors == {"wrong_device": health.polls_failed}
    assert not sink.offered
    assert not sink.identities
    # Probed by the question alone, with backoff.
    assert (1, 10, 1) not in bank.asked
    assert len(bank.asked) == health.polls_failed


async def test_the_right_device_in_the_place_of_a_wrong_one_is_found_by_a_probe() -> None:
    bank, sink = Bank.of(device_registers("SDM120")), MemorySink()
    async with scripted_server(bank) as port:
        meter = meter_of({**MODEL, "expect": "SDM630.*"})
        collector = open_collector(modbus_connection(port), [meter], sink)
        async with running(collector):
            await eventually(lambda: health_of(collector).state is MeterState.WRONG)
            bank.registers[1] |= text(100, "SDM630M")
            await eventually(lambda: health_of(collector).state is MeterState.OK)
    assert sink.identities[0][1].model == "SDM630M"
    assert {reading.value("active_power_kw") for reading in sink.offered} == {42.0}


async def test_a_device_swapped_while_it_was_away_is_met_again_before_a_value_is_taken() -> None:
    bank, sink = Bank.of(device_registers(serial=4711)), MemorySink()
    async with scripted_server(bank) as port:
        collector = open_collector(modbus_connection(port, timeout_s=0.1, retries=0), [meter_of(SERIAL)], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 2)
            bank.silent.add(1)
            await eventually(lambda: health_of(collector).state is MeterState.DOWN)
            before = len(sink.offered)
            bank.registers[1] |= packed(110, ">I", 4712) | {10: 7}
            bank.silent.clear()
            await eventually(lambda: len(sink.offered) >= before + 2)
    assert [identity.serial for _, identity, _ in sink.identities] == ["4711", "4712"]
    assert {reading.value("active_power_kw") for reading in sink.offered[before:]} == {7.0}
    assert sink.identities[1][2] <= sink.offered[before].time_us


async def test_a_new_connection_makes_a_device_be_met_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acquaintance, "MEET_AGAIN_S", 0.0)
    bank, sink = Bank.of(device_registers(), device_registers()), MemorySink()
    async with scripted_server(bank) as port:
        meters = [meter_of(SERIAL), meter_of(unit=2)]
        collector = open_collector(modbus_connection(port, timeout_s=0.1, retries=0), meters, sink)
        async with running(collector):
            await eventually(lambda: len(sink.of(1)) >= 2 and len(sink.of(2)) >= 2)
            assert len(sink.identities) == 1
            bank.silent.add(2)
            await eventually(lambda: len(sink.identities) >= 2)
        assert health_of(collector).polls_failed == 0


async def test_a_gateway_that_is_opened_again_and_again_does_not_make_its_units_be_met_each_time() -> None:
    bank, sink = Bank.of(device_registers(), device_registers()), MemorySink()
    bank.silent.add(2)
    async with scripted_server(bank) as port:
        meters = [meter_of(SERIAL), meter_of(unit=2)]
        collector = open_collector(modbus_connection(port, timeout_s=0.05, retries=0), meters, sink)
        async with running(collector):
            await eventually(lambda: health_of(collector, 2).polls_failed >= 2 and len(sink.of(1)) >= 10)
    assert len(sink.identities) == 1
    assert bank.asked.count((1, 110, 2)) == 1


async def test_a_device_that_refuses_to_say_who_it_is_is_accepted_and_that_is_noted_once() -> None:
    bank, sink = Bank.of({10: 42}), MemorySink()
    with capture_logs() as said:
        async with scripted_server(bank) as port:
            meter = meter_of({**MODEL, "expect": "SDM630.*"})
            collector = open_collector(modbus_connection(port, timeout_s=0.1, retries=0), [meter], sink)
            async with running(collector):
                await eventually(lambda: len(sink.offered) >= 3)
                bank.silent.add(1)
                await eventually(lambda: health_of(collector).state is MeterState.DOWN)
                bank.silent.clear()
                await eventually(lambda: health_of(collector).state is MeterState.OK)
    assert not sink.identities
    assert [line["what"] for line in said if line["event"] == "register_not_answered"] == ["identity model"]


async def test_a_device_that_is_silent_about_who_it_is_is_polled_all_the_same() -> None:
    bank, sink = Bank.of(device_registers()), MemorySink()
    bank.silent.add((1, 110))
    async with scripted_server(bank) as port:
        collector = open_collector(modbus_connection(port, timeout_s=0.05, retries=0), [meter_of(SERIAL)], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 3)
        assert health_of(collector).state is MeterState.OK
    assert not sink.identities


async def test_a_dead_device_is_not_taken_for_one_that_is_silent_about_itself() -> None:
    """However long it was dead: what comes back is asked who it is before a value is taken."""
    bank, sink = Bank.of(device_registers("SDM120")), MemorySink()
    bank.silent.add(1)
    async with scripted_server(bank) as port:
        meter = meter_of({**MODEL, "expect": "SDM630.*"})
        collector = open_collector(modbus_connection(port, timeout_s=0.05, retries=0), [meter], sink)
        async with running(collector):
            await eventually(lambda: health_of(collector).polls_failed >= 3)
            assert health_of(collector).requests == health_of(collector).polls_failed
            bank.silent.clear()
            await eventually(lambda: health_of(collector).state is MeterState.WRONG)
    assert not sink.offered


async def test_points_follow_a_parameter_of_the_device_and_its_change_is_said() -> None:
    bank, sink = Bank.of(device_registers(ratio=20)), MemorySink()
    with capture_logs() as said:
        async with scripted_server(bank) as port:
            collector = open_collector(modbus_connection(port), [meter_of(parameters=[RATIO])], sink)
            async with running(collector):
                await eventually(lambda: len(sink.offered) >= 3)
                bank.registers[1][120] = 40
                await eventually(lambda: sink.offered[-1].value("active_power_kw") == 42.0 * 40)
    assert sink.offered[0].value("active_power_kw") == 42.0 * 20
    assert [reading.quality for reading in sink.offered] == [0] * len(sink.offered)
    (change,) = [line for line in said if line["event"] == "parameter_changed"]
    assert (change["meter"], change["name"], change["was"], change["now"]) == ("m1", "ct_ratio", 20.0, 40.0)
    assert change["log_level"] == "warning"


async def test_a_parameter_is_read_no_more_often_than_its_interval() -> None:
    bank, sink = Bank.of(device_registers()), MemorySink()
    async with scripted_server(bank) as port:
        meter = meter_of(parameters=[{**RATIO, "interval_s": 3600.0}])
        async with running(open_collector(modbus_connection(port), [meter], sink)):
            await eventually(lambda: len(sink.offered) >= 8)
    assert bank.asked.count((1, 120, 1)) == 1


async def test_without_its_parameter_a_point_is_not_available_and_never_guessed() -> None:
    bank, sink = Bank.of(device_registers(ratio=0)), MemorySink()
    async with scripted_server(bank) as port:
        collector = open_collector(modbus_connection(port), [meter_of(parameters=[RATIO])], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 3)
            bank.registers[1][120] = 5
            await eventually(lambda: sink.offered[-1].value("active_power_kw") is not None)
    assert sink.offered[0].values == (None,)
    assert sink.offered[0].quality == Quality.NOT_AVAILABLE
    assert sink.offered[-1].value("active_power_kw") == 210.0


async def test_a_parameter_that_cannot_be_read_again_keeps_its_value_for_a_while_and_is_then_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acquaintance, "KEPT_INTERVALS", 4)
    bank, sink = Bank.of(device_registers()), MemorySink()
    async with scripted_server(bank) as port:
        collector = open_collector(modbus_connection(port), [meter_of(parameters=[RATIO])], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 2)
            del bank.registers[1][120]
            refused_after = len(sink.offered)
            await eventually(lambda: sink.offered[-1].value("active_power_kw") is None)
    kept = [reading for reading in sink.offered[refused_after:] if reading.value("active_power_kw") is not None]
    # Its last reading was at most one interval before, and it is kept for four.
    assert kept
    assert {reading.value("active_power_kw") for reading in kept} == {840.0}
    assert kept[-1].time_us - sink.offered[refused_after - 1].time_us <= 1_500_000


async def test_the_parameters_of_one_device_are_never_used_for_another() -> None:
    bank, sink = Bank.of(device_registers(ratio=20)), MemorySink()
    async with scripted_server(bank) as port:
        meter = meter_of(SERIAL, parameters=[RATIO])
        collector = open_collector(modbus_connection(port, timeout_s=0.1, retries=0), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 2)
            bank.silent.add(1)
            await eventually(lambda: health_of(collector).state is MeterState.DOWN)
            before = len(sink.offered)
            bank.registers[1] |= packed(110, ">I", 4712)
            bank.refuses[1, 120] = 4
            bank.silent.clear()
            await eventually(lambda: len(sink.offered) >= before + 1)
    assert {reading.value("active_power_kw") for reading in sink.offered[before:]} == {None}


async def test_a_parameter_that_the_device_is_too_busy_for_costs_no_poll() -> None:
    bank, sink = Bank.of(device_registers()), MemorySink()
    async with scripted_server(bank) as port:
        collector = open_collector(modbus_connection(port), [meter_of(parameters=[RATIO])], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 2)
            bank.refuses[1, 120] = 6
            before = bank.asked.count((1, 120, 1))
            await eventually(lambda: bank.asked.count((1, 120, 1)) >= before + 2)
        health = health_of(collector)
    assert health.polls_failed == health.polls_partial == 0
    assert {reading.value("active_power_kw") for reading in sink.offered} == {840.0}


@pytest.mark.parametrize("question", [(1, 110), (1, 120)])
async def test_one_lost_answer_at_the_first_contact_is_retried_and_is_no_absence(question: tuple[int, int]) -> None:
    bank, sink = Bank.of(device_registers()), MemorySink()
    bank.silent.add(question)

    def answer_the_second_time(_unit: int) -> None:
        if sum(each[:2] == question for each in bank.asked) == 2:
            bank.silent.clear()

    bank.each = answer_the_second_time
    async with scripted_server(bank) as port:
        meter = meter_of(SERIAL, parameters=[RATIO])
        collector = open_collector(modbus_connection(port, timeout_s=0.1, retries=1), [meter], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 2)
        health = health_of(collector)
    assert health.polls_failed == 0
    assert health.errors == {"no_reply": 1}
    assert sink.offered[0].value("active_power_kw") == 840.0


def test_a_text_of_the_test_is_what_a_device_would_send() -> None:
    assert struct.pack(">4H", *text(100, "SDM630").values()) == b"SDM630\0\0"
