"""What Prometheus scrapes: the running totals that every part of the service keeps anyway, read when asked.

Nothing is counted twice: each part owns a plain stats object, and `ServiceMetrics` turns those into metric families.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric, Sample
from prometheus_client.registry import Collector as PrometheusCollector

from emsd.accounting import AccountingStats, RetentionStats
from emsd.alarms.stats import AlarmStats
from emsd.collector import Collector, MeterHealth, MeterState, ReportsEndpoint, ReportsPlan
from emsd.ingest.ages import AgeHistogram
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
_SPOOL: Final = (
    ("available", "gauge", "Whether the spool took the last batch that it was given"),
    ("readings", "gauge", "Readings kept on disk because the database did not take them in time"),
    ("batches", "gauge", "Batches kept on disk"),
    ("bytes", "gauge", "What the spool takes of the disk"),
    ("oldest_age_s", "gauge", "How long the oldest batch has been on disk, in seconds"),
    ("saved_readings", "counter", "Readings that went to the spool"),
    ("drained_readings", "counter", "Readings that went from the spool to the database"),
    ("dropped_readings", "counter", "Readings given up because the spool was full"),
    ("recovered_readings", "counter", "Readings that an earlier process had left in the spool"),
)
_ACCOUNTING: Final = (
    ("passes", "counter", "Passes of accounting"),
    ("failures", "counter", "Passes that the database refused"),
    ("minutes_written", "counter", "Rows of one-minute intervals written"),
    ("gauge_quarters_built", "counter", "Quarter hours of meters whose gauges were built"),
    ("minutes_sealed", "counter", "Minutes that readings came for after retention had dropped what lies around them"),
    ("pieces_recomputed", "counter", "Pieces of history computed anew on demand"),
    ("busy_s", "counter", "Time spent in passes, in seconds"),
    ("lag_s", "gauge", "How long the oldest minute that intervals do not reflect has been over, in seconds"),
)
_DERIVING: Final = (
    ("readings", "counter", "Readings of derived meters written: residuals, deviations, demand"),
    ("failures", "counter", "Minutes that the database refused or did not answer for; they are tried again"),
    ("skipped", "counter", "Minutes that were never derived, because accounting or the database was behind"),
    ("busy_s", "counter", "Time spent deriving, that of waiting for the database included, in seconds"),
    ("last_timestamp_s", "gauge", "End of the last minute that was derived, in seconds since the epoch"),
)
_RETENTION: Final = (
    ("rounds", "counter", "Rounds of retention"),
    ("failures", "counter", "Rounds that the database refused"),
    ("chunks_dropped", "counter", "Parts of tables dropped because they were older than is kept"),
    ("chunks_held", "counter", "Times that an old part was kept because something waited to be made of it"),
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
_PLAN: Final = (
    ("requests", "Requests of one poll of every meter, all rates due"),
    ("registers_wanted", "Registers that these requests are sent for"),
    ("registers_read", "Registers that these requests ask for, holes between wanted ones included"),
)
_ENDPOINT: Final = (
    ("connects", "Times the connection was opened"),
    ("failures", "Times it could not be opened, was lost, or gave no usable answer to a request"),
    ("requests", "Requests sent over it"),
    ("busy_s", "Time in which somebody was served over it, in seconds"),
)
_RESULTS: Final = ("expected", "ok", "partial", "failed", "skipped")


@dataclass(slots=True, eq=False)
class ServiceMetrics(PrometheusCollector):
    """Metric families of one service; `meter_keys` names meters by their number."""

    meter_keys: Callable[[], dict[int, str]]
    pipeline: Callable[[], PipelineStats | None] = lambda: None
    accounting: Callable[[], AccountingStats | None] = lambda: None
    deriving: Callable[[], object | None] = lambda: None
    """A `emsd.service.deriving.DerivingStats`; the service knows the metrics, not the other way round."""
    retention: Callable[[], RetentionStats | None] = lambda: None
    alarms: Callable[[], AlarmStats | None] = lambda: None
    collectors: Callable[[], Sequence[Collector]] = tuple
    restarts: dict[str, int] = field(default_factory=dict)
    """Failures of supervised tasks, by name; the service counts them here."""

    def collect(self) -> Iterable[Metric]:
        """Yield every family; called at each scrape."""
        pipeline = self.pipeline()
        yield from _families("emsd_ingest", _PIPELINE, pipeline)
        if pipeline is not None:
            yield _commit_age(pipeline.commit_age)
        yield from _families("emsd_spool", _SPOOL, pipeline.spool if pipeline else None)
        yield from _families("emsd_accounting", _ACCOUNTING, self.accounting())
        yield from _families("emsd_deriving", _DERIVING, self.deriving())
        yield from _families("emsd_retention", _RETENTION, self.retention())
        yield from _families("emsd_alarms", _ALARMS, self.alarms())
        yield from self._meters()
        connected = GaugeMetricFamily(
            "emsd_connection_up", "Whether the endpoint can be reached", labels=["connection"]
        )
        for collector in self.collectors():
            connected.add_metric([collector.name], float(collector.connected()))
        yield connected
        yield from self._endpoints()
        yield from self._plans()
        restarts = CounterMetricFamily("emsd_task_failures", "Failures of supervised tasks", labels=["task"])
        for task, count in self.restarts.items():
            restarts.add_metric([task], count)
        yield restarts

    def _endpoints(self) -> Iterable[Metric]:
        endpoints = [each.endpoint_health() for each in self.collectors() if isinstance(each, ReportsEndpoint)]
        labels = ("address", "connection", "kind")
        up = GaugeMetricFamily("emsd_endpoint_up", "Whether the connection stands", labels=labels)
        for each in endpoints:
            up.add_metric([each.address, each.connection, each.kind], float(each.connected))
        yield up
        for name, documentation in _ENDPOINT:
            full_name = f"emsd_endpoint_{name.removesuffix('_s')}" + ("_seconds" if name.endswith("_s") else "")
            family = CounterMetricFamily(full_name, documentation, labels=labels)
            for each in endpoints:
                family.add_metric([each.address, each.connection, each.kind], getattr(each, name))
            yield family

    def _plans(self) -> Iterable[Metric]:
        plans = [(each.name, each.plan_efficiency()) for each in self.collectors() if isinstance(each, ReportsPlan)]
        for name, documentation in _PLAN:
            family = GaugeMetricFamily(f"emsd_plan_{name}", documentation, labels=["connection"])
            for connection, plan in plans:
                family.add_metric([connection], getattr(plan, name))
            yield family

    def _meters(self) -> Iterable[Metric]:
        """Yield the families of all meters one by one: each is a step for who must not be held up for long."""
        keys = self.meter_keys()
        healths = [each for collector in self.collectors() for each in collector.health()]
        meters = [(keys.get(each.meter_id, str(each.meter_id)), each) for each in healths]
        polls = CounterMetricFamily("emsd_meter_polls", "Polls of a meter by result", labels=["meter", "result"])
        for result in _RESULTS:
            count = attrgetter(f"polls_{result}")
            polls.samples += [_counted(polls, {"meter": key, "result": result}, count(each)) for key, each in meters]
        yield polls
        requests = CounterMetricFamily("emsd_meter_requests", "Requests sent to a meter", labels=["meter"])
        requests.samples = [_counted(requests, {"meter": key}, each.requests) for key, each in meters]
        yield requests
        rejected = CounterMetricFamily("emsd_meter_values_rejected", "Values that became NULL", labels=["meter"])
        rejected.samples = [_counted(rejected, {"meter": key}, each.values_rejected) for key, each in meters]
        yield rejected
        errors = CounterMetricFamily("emsd_meter_errors", "Failures of a meter by kind", labels=["meter", "kind"])
        for key, each in meters:
            for kind, failures in each.errors.items():
                errors.add_metric([key, kind], failures)
        yield errors
        up = GaugeMetricFamily("emsd_meter_up", "1 well, 0.5 in part, 0 without values", labels=["meter"])
        up.samples = [Sample(up.name, {"meter": key}, _UP[each.state]) for key, each in meters]
        yield up
        state = GaugeMetricFamily("emsd_meter_state", "1 for the state of a meter", labels=["meter", "state"])
        state.samples = [Sample(state.name, {"meter": key, "state": each.state.value}, 1.0) for key, each in meters]
        yield state
        yield _round_trips(meters)


def _counted(family: Metric, labels: dict[str, str], count: float) -> Sample:
    """Return a sample of a counter; `add_metric` takes three times as long, and thousands of meters feel it."""
    return Sample(f"{family.name}_total", labels, count)


def _round_trips(meters: Iterable[tuple[str, MeterHealth]]) -> Metric:
    family = GaugeMetricFamily(
        "emsd_meter_round_trip_seconds", "Duration of the last successful poll", labels=["meter"]
    )
    for key, each in meters:
        if each.round_trip_s is not None:
            family.samples.append(Sample(family.name, {"meter": key}, each.round_trip_s))
    return family


def _commit_age(ages: AgeHistogram) -> Metric:
    return HistogramMetricFamily(
        "emsd_ingest_commit_age_seconds",
        "Time from the arrival of a reading until its commit; what went through the spool is not in it",
        buckets=list(ages.cumulative()),
        sum_value=ages.sum_s,
    )


_UP: Final = dict.fromkeys(MeterState, 0.0) | {
    MeterState.OK: 1.0,
    MeterState.DEGRADED: 0.5,
    # It need not answer; who is called for a meter that is not up should sleep by night.
    MeterState.RESTING: 1.0,
}


def _families(prefix: str, rows: Iterable[tuple[str, str, str]], stats: object | None) -> Iterable[Metric]:
    if stats is None:
        return
    for name, kind, documentation in rows:
        family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
        full_name = f"{prefix}_{name.removesuffix('_s')}_seconds" if name.endswith("_s") else f"{prefix}_{name}"
        yield family(full_name, documentation, value=float(getattr(stats, name)))
