from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest

from emsd.collector import Collector, MeterHealth, MeterState, PlanEfficiency
from emsd.metrics import ServiceMetrics
from emsd.service.deriving import DerivingStats


class Bus:
    """A collector that plans its reads."""

    name = "bus"

    async def run(self) -> None:
        raise AssertionError("nobody runs it")

    def health(self) -> list[MeterHealth]:
        return []

    def connected(self) -> bool:
        return True

    def plan_efficiency(self) -> PlanEfficiency:
        return PlanEfficiency(requests=3, registers_wanted=50, registers_read=100)


class Broker:
    """A collector that has nothing to plan."""

    name = "broker"

    async def run(self) -> None:
        raise AssertionError("nobody runs it")

    def health(self) -> list[MeterHealth]:
        return []

    def connected(self) -> bool:
        return True


def test_the_plan_of_a_connection_is_scraped_and_one_without_a_plan_has_none() -> None:
    collectors: list[Collector] = [Bus(), Broker()]
    registry = CollectorRegistry()
    registry.register(ServiceMetrics(dict, collectors=lambda: collectors))
    text = generate_latest(registry).decode()
    assert [line for line in text.splitlines() if line.startswith("emsd_plan_")] == [
        'emsd_plan_requests{connection="bus"} 3.0',
        'emsd_plan_registers_wanted{connection="bus"} 50.0',
        'emsd_plan_registers_read{connection="bus"} 100.0',
    ]
    assert 'emsd_connection_up{connection="broker"} 1.0' in text


def test_each_meter_of_a_collector_is_scraped_with_its_totals_and_its_state() -> None:
    health = MeterHealth(7, polls_expected=5, polls_ok=3, polls_failed=2, requests=9, state=MeterState.DEGRADED)
    health.errors["no_reply"] += 2

    class One(Broker):
        def health(self) -> list[MeterHealth]:
            return [health, MeterHealth(8, round_trip_s=0.25)]

    registry = CollectorRegistry()
    registry.register(ServiceMetrics(lambda: {7: "incomer"}, collectors=lambda: [One()]))
    lines = generate_latest(registry).decode().splitlines()
    assert [line for line in lines if 'meter="incomer"' in line] == [
        'emsd_meter_polls_total{meter="incomer",result="expected"} 5.0',
        'emsd_meter_polls_total{meter="incomer",result="ok"} 3.0',
        'emsd_meter_polls_total{meter="incomer",result="partial"} 0.0',
        'emsd_meter_polls_total{meter="incomer",result="failed"} 2.0',
        'emsd_meter_polls_total{meter="incomer",result="skipped"} 0.0',
        'emsd_meter_requests_total{meter="incomer"} 9.0',
        'emsd_meter_values_rejected_total{meter="incomer"} 0.0',
        'emsd_meter_errors_total{kind="no_reply",meter="incomer"} 2.0',
        'emsd_meter_up{meter="incomer"} 0.5',
        'emsd_meter_state{meter="incomer",state="degraded"} 1.0',
    ]
    assert 'emsd_meter_round_trip_seconds{meter="8"} 0.25' in lines


def test_what_deriving_has_done_is_scraped_and_before_the_first_minute_there_is_no_last() -> None:
    stats = DerivingStats(readings=12, failures=2, skipped=3, busy_s=1.5)
    registry = CollectorRegistry()
    registry.register(ServiceMetrics(dict, deriving=lambda: stats))

    def scraped() -> list[str]:
        lines = generate_latest(registry).decode().splitlines()
        return [line for line in lines if line.startswith("emsd_deriving_")]

    assert scraped() == [
        "emsd_deriving_readings_total 12.0",
        "emsd_deriving_failures_total 2.0",
        "emsd_deriving_skipped_total 3.0",
        "emsd_deriving_busy_seconds_total 1.5",
        "emsd_deriving_last_timestamp_seconds NaN",
    ]
    stats.last_us = 1_780_000_020_000_000
    assert scraped()[-1] == "emsd_deriving_last_timestamp_seconds 1.78000002e+09"
