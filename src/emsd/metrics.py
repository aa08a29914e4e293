"""What Prometheus scrapes: the running totals that every part of the service keeps anyway, read when asked.

Nothing is counted twice: each part owns a plain stats object, and `ServiceMetrics` turns those into metric families.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as PrometheusCollector

from emsd.accounting import AccountingStats
from emsd.alarms.stats import AlarmStats
from emsd.collector import Collector, MeterState
from emsd.ingest.pipeline import PipelineStats

__all__ = ["ServiceMetrics"]

_PIPELINE: Final = (
    ("accepted", "counter", "Readings taken from collectors"),
    ("stored", "counter", "Readings committed as new rows"),
    ("merged", "counter", "Readings that belonged to a row that was there"),
    ("quarantined", "counter", "Readings that can never be stored, kept with their reason"),
    ("poisoned", "counter", "Messages that can never become readings, kept with their reason"),
    ("refused", "counter", "Awaited readings handed back as not durable"),
    ("failures", "counter", "Attempts to write that the database refused or did not answer"),
    ("lost", "counter", "Readings that could not be kept"),
    ("batches", "counter", "Batches committed"),
    ("write_seconds", "counter", "Time spent in writes"),
    ("lag_s", "gauge", "Age of the oldest reading that waits for its commit, in seconds"),
    ("depth", "gauge", "Readings waiting for their commit"),
    ("capacity", "gauge", "Readings that may wait"),
    ("database_up", "gauge", "Whether the last write reached the database"),
)
_ACCOUNTING: Final = (
    ("passes", "counter", "Passes of accounting"),
    ("failures", "counter", "Passes that the database refused"),
    ("minutes_written", "counter", "Rows of one-minute intervals written"),
    ("busy_s", "counter", "Time spent in passes, in seconds"),
    ("lag_s", "gauge", "Age of the oldest minute that intervals do not reflect yet, in seconds"),
)
_ALARMS: Final = (
    ("raised", "counter", "Alarms raised"),
    ("returned", "counter", "Alarms returned"),
    ("standing", "gauge", "Alarm conditions that hold now"),
    ("queue_depth", "gauge", "Transitions that wait for the database"),
    ("transitions_coalesced", "counter", "Transitions of chattering alarms merged while the database was away"),
    ("transitions_lost", "counter", "Transitions that the database will never take"),
    ("notifications_sent", "counter", "Notifications delivered"),
    ("notifications_retried", "counter", "Notifications that failed and are tried again"),
    ("notifications_failed", "counter", "Notifications given up"),
    ("notifications_unknown", "counter", "Notifications of which nobody knows whether they arrived"),
)
_RESULTS: Final = ("expected", "ok", "partial", "failed", "skipped")


@dataclass(slots=True, eq=False)
class ServiceMetrics(PrometheusCollector):
    """Metric families of one service; `meter_keys` names meters by their number."""

    meter_keys: Callable[[], dict[int, str]]
    pipeline: Callable[[], PipelineStats | None] = lambda: None
    accounting: Callable[[], AccountingStats | None] = lambda: None
    alarms: Callable[[], AlarmStats | None] = lambda: None
    collectors: Callable[[], Sequence[Collector]] = tuple
    restarts: dict[str, int] = field(default_factory=dict)
    """Failures of supervised tasks, by name; the service counts them here."""

    def collect(self) -> Iterable[Metric]:
        """Yield every family; called at each scrape."""
        yield from _families("emsd_ingest", _PIPELINE, self.pipeline())
        yield from _families("emsd_accounting", _ACCOUNTING, self.accounting())
        yield from _families("emsd_alarms", _ALARMS, self.alarms())
        yield from self._meters()
        connected = GaugeMetricFamily(
            "emsd_connection_up", "Whether the endpoint can be reached", labels=["connection"]
        )
        for collector in self.collectors():
            connected.add_metric([collector.name], float(collector.connected()))
        yield connected
        restarts = CounterMetricFamily("emsd_task_failures", "Failures of supervised tasks", labels=["task"])
        for task, count in self.restarts.items():
            restarts.add_metric([task], count)
        yield restarts

    def _meters(self) -> Iterable[Metric]:
        keys = self.meter_keys()
        polls = CounterMetricFamily("emsd_meter_polls", "Polls of a meter by result", labels=["meter", "result"])
        requests = CounterMetricFamily("emsd_meter_requests", "Requests sent to a meter", labels=["meter"])
        rejected = CounterMetricFamily("emsd_meter_values_rejected", "Values that became NULL", labels=["meter"])
        errors = CounterMetricFamily("emsd_meter_errors", "Failures of a meter by kind", labels=["meter", "kind"])
        up = GaugeMetricFamily("emsd_meter_up", "1 answers, 0.5 answers in part, 0 does not answer", labels=["meter"])
        round_trip = GaugeMetricFamily(
            "emsd_meter_round_trip_seconds", "Duration of the last successful poll", labels=["meter"]
        )
        for collector in self.collectors():
            for health in collector.health():
                meter = keys.get(health.meter_id, str(health.meter_id))
                for result in _RESULTS:
                    polls.add_metric([meter, result], getattr(health, f"polls_{result}"))
                requests.add_metric([meter], health.requests)
                rejected.add_metric([meter], health.values_rejected)
                for kind, count in health.errors.items():
                    errors.add_metric([meter, kind], count)
                up.add_metric([meter], _UP[health.state])
                if health.round_trip_s is not None:
                    round_trip.add_metric([meter], health.round_trip_s)
        yield from (polls, requests, rejected, errors, up, round_trip)


_UP: Final = {MeterState.OK: 1.0, MeterState.DEGRADED: 0.5, MeterState.DOWN: 0.0, MeterState.STARTING: 0.0}


def _families(prefix: str, rows: Iterable[tuple[str, str, str]], stats: object | None) -> Iterable[Metric]:
    if stats is None:
        return
    for name, kind, documentation in rows:
        family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
        full_name = f"{prefix}_{name.removesuffix('_s')}_seconds" if name.endswith("_s") else f"{prefix}_{name}"
        yield family(full_name, documentation, value=float(getattr(stats, name)))
