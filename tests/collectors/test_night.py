"""An inverter by night is silent and that is no fault; when its rest is over it is met at once."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from collectors.modbus import backing_off, open_collector
from collectors.modbus.backing_off import DOWN_CAP_S, REST_CAP_S, Absence
from emsd.collector import BoundMeter, Collector, MeterHealth, MeterState
from tests.collectors.bank import Bank
from tests.collectors.support import (
    MemorySink,
    bound,
    clock_from,
    eventually,
    modbus_connection,
    profile_of,
    running,
    scripted_server,
)

POWER = {"quantity": "active_power_kw", "address": 10, "type": "i16"}
S = 1_000_000
DUSK_US = 1_774_785_600_000_000


class Night:
    """Says whether it is night, whatever the clock."""

    def __init__(self) -> None:
        self.dark = True

    def __call__(self, _time_us: int) -> bool:
        return self.dark


def inverter(night: Night) -> BoundMeter:
    meter = bound(1, profile_of([POWER]), unit=1, poll_interval_s=0.1)
    return BoundMeter(meter.meter_id, meter.meter, meter.profile, may_rest=night)


def health_of(collector: Collector) -> MeterHealth:
    (health,) = collector.health()
    counted = health.polls_ok + health.polls_partial + health.polls_failed + health.polls_skipped
    assert health.polls_expected == counted
    return health


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backing_off, "FIRST_WAIT_S", 0.1)


@pytest.mark.parametrize("code", [None, 11])
async def test_an_inverter_that_is_silent_by_night_rests_and_nobody_is_warned(code: int | None) -> None:
    bank, sink, night = Bank.of({10: 5}), MemorySink(), Night()
    if code is None:
        bank.silent.add(1)
    else:
        bank.refuses[1] = code
    with capture_logs() as said:
        async with scripted_server(bank) as port:
            connection = modbus_connection(port, timeout_s=0.05, retries=0)
            collector = open_collector(connection, [inverter(night)], sink)
            async with running(collector):
                await eventually(lambda: health_of(collector).polls_skipped >= 6)
                health = health_of(collector)
                assert health.state is MeterState.RESTING
                assert health.polls_failed == 0
                assert not health.errors
                assert health.last_error is not None
    assert len(bank.asked) < 6
    assert [line["event"] for line in said if line["log_level"] in {"warning", "error"}] == []


async def test_an_inverter_that_answers_by_night_is_polled_as_by_day() -> None:
    bank, sink = Bank.of({10: 5}), MemorySink()
    async with scripted_server(bank) as port:
        collector = open_collector(modbus_connection(port), [inverter(Night())], sink)
        async with running(collector):
            await eventually(lambda: len(sink.offered) >= 4)
        assert health_of(collector).state is MeterState.OK


async def test_an_inverter_that_stays_silent_after_sunrise_is_down() -> None:
    bank, sink, night = Bank.of({10: 5}), MemorySink(), Night()
    bank.silent.add(1)
    async with scripted_server(bank) as port:
        collector = open_collector(modbus_connection(port, timeout_s=0.05, retries=0), [inverter(night)], sink)
        async with running(collector):
            await eventually(lambda: health_of(collector).state is MeterState.RESTING)
            night.dark = False
            await eventually(lambda: health_of(collector).state is MeterState.DOWN)
            assert health_of(collector).errors["no_reply"] >= 1
            bank.silent.clear()
            await eventually(lambda: health_of(collector).state is MeterState.OK)


async def test_an_inverter_whose_connection_cannot_be_opened_by_night_rests() -> None:
    async with scripted_server(Bank.of({10: 5})) as port:
        pass
    collector = open_collector(modbus_connection(port), [inverter(Night())], MemorySink())
    async with running(collector):
        await eventually(lambda: health_of(collector).state is MeterState.RESTING)
    assert not health_of(collector).errors


async def test_an_inverter_is_met_at_the_end_of_its_rest_and_not_a_backoff_later() -> None:
    bank, sink = Bank.of({10: 5}), MemorySink()
    bank.silent.add(1)
    now_us = clock_from(DUSK_US)
    dawn_us = DUSK_US + 3 * S
    meter = inverter(Night())
    meter = BoundMeter(meter.meter_id, meter.meter, meter.profile, may_rest=lambda time_us: time_us < dawn_us)
    async with scripted_server(bank) as port:
        connection = modbus_connection(port, timeout_s=0.05, retries=0)
        collector = open_collector(connection, [meter], sink, now_us=now_us)
        async with running(collector):
            await eventually(lambda: health_of(collector).state is MeterState.RESTING)
            bank.silent.clear()
            await eventually(lambda: bool(sink.offered))


def test_a_rest_is_probed_at_most_every_ten_minutes_and_ends_on_time() -> None:
    dawn_us = DUSK_US + 8 * 3600 * S
    absence = Absence(1.0, 1.0, lambda time_us: time_us < dawn_us)
    now, waits = 0.0, []
    while True:
        state = absence.failed(now, DUSK_US + round(now * S))
        if state is MeterState.DOWN:
            break
        waits.append(absence.not_before - now)
        now = absence.not_before
    assert waits[0] <= 1.0
    assert max(waits) <= REST_CAP_S
    assert sorted(waits[-8:-1])[3] >= REST_CAP_S / 2
    # The probe that finds it down comes within a second of the end of its rest.
    assert 0 <= now - 8 * 3600 < 1.0
    assert absence.not_before - now <= 1.0


def test_a_meter_that_may_not_rest_is_probed_every_minute() -> None:
    absence = Absence(1.0, 1.0, None)
    absence.heard(0.02)
    waits, now = [], 0.0
    for _ in range(20):
        assert absence.failed(now, DUSK_US) is MeterState.DOWN
        waits.append(absence.not_before - now)
        now = absence.not_before
    assert max(waits) <= DOWN_CAP_S
    assert min(waits[8:]) >= DOWN_CAP_S / 2


def test_an_answer_of_another_kind_than_is_wanted_is_no_rest() -> None:
    absence = Absence(1.0, 1.0, lambda _time_us: True)
    assert absence.failed(0.0, DUSK_US, there=True) is MeterState.DOWN
