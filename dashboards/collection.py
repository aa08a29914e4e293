"""Collector health: whether every meter is read, how fast, and what became of what could not be kept."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from . import variables
from .house import build_dashboard
from .panels import Column, Labels, Panel, number, records, series, states
from .sql import NOW, PLANT, chosen, with_ctes
from .units import AMBER, BLUE, COUNT, GREEN, PERCENT, RED, SECONDS, TIME, Steps

__all__ = ["build"]

_CHOSEN: Final = chosen("key", "meter")
_SUCCESS: Final[Steps] = ((None, RED), (95.0, AMBER), (99.5, GREEN))
_ANY: Final[Steps] = ((None, GREEN), (1.0, RED))
_RATE: Final = "100.0 * sum(polls_ok + polls_partial) / nullif(sum(polls_expected), 0)"
_STATES: Final[Labels] = {
    "0": ("starting", BLUE),
    "1": ("ok", GREEN),
    "2": ("degraded", AMBER),
    "3": ("down", RED),
    "4": ("frozen", AMBER),
    "5": ("wrong", RED),
    "6": ("resting", BLUE),
}
_STATE_NAMES: Final[Labels] = {text: (text, color) for text, color in _STATES.values()}
_STATE_NUMBER: Final = (
    "array_position(ARRAY['starting', 'ok', 'degraded', 'down', 'frozen', 'wrong', 'resting'], state) - 1"
)


def _minutes(columns: str) -> str:
    """The query over the minutes of the chosen meters in the shown range."""
    return f"""{with_ctes(PLANT)}
SELECT {columns}
FROM collector_health_1m AS minute JOIN plant USING (meter_id)
WHERE $__timeFilter(minute.time) AND {_CHOSEN}"""


def _numbers() -> list[Panel]:
    return [
        number(
            "Success",
            "Polls that delivered, wholly or in part, of those that were due, in the shown range. For a meter that"
            " publishes by itself every message counts as one due poll.",
            _minutes(f"{_RATE} AS success_percent"),
            PERCENT,
            steps=_SUCCESS,
            decimals=2,
        ),
        number(
            "Meters down",
            "Chosen meters whose collector last said, within the last 5 minutes of the shown range, that they do not"
            " answer.",
            f"""{with_ctes(PLANT)}
SELECT count(*) FILTER (WHERE state = 'down') AS meters_down
FROM plant CROSS JOIN LATERAL (
    SELECT state FROM collector_health_1m AS minute
    WHERE minute.meter_id = plant.meter_id AND time > {NOW} - interval '5 minutes' AND time <= {NOW}
    ORDER BY time DESC LIMIT 1
) AS last
WHERE {_CHOSEN}""",
            COUNT,
            steps=_ANY,
        ),
        number(
            "Skipped polls",
            "Polls that were due while the meter was backing off or its connection still busy, in the shown range;"
            " they are"
            " never queued.",
            _minutes("sum(polls_skipped) AS polls_skipped"),
            COUNT,
        ),
        number(
            "Rejected values",
            "Values that became NULL in the shown range, because the device had none or they were implausible.",
            _minutes("sum(values_rejected) AS values_rejected"),
            COUNT,
        ),
        number(
            "Readings lost",
            "Readings that the service took but could not keep, of those that lie in the shown range.",
            f"""{with_ctes(PLANT)}
SELECT coalesce(sum(readings), 0) AS readings
FROM reading_loss JOIN plant USING (meter_id)
WHERE taken AND last_time >= $__timeFrom() AND first_time <= $__timeTo() AND {_CHOSEN}""",
            COUNT,
            steps=_ANY,
        ),
        number(
            "Quarantined",
            "Messages and rows received in the shown range that can never become readings; the tables below say why.",
            "SELECT count(*) AS quarantined FROM quarantine WHERE $__timeFilter(received_at)",
            COUNT,
            steps=_ANY,
        ),
    ]


def _meters() -> Panel:
    return records(
        "Meters",
        "Each chosen meter at the end of the shown range: age of its last reading (of the last 7 days), its collector's"
        " state, and success in the shown range. An age of several poll intervals means that nothing comes any more.",
        f"""{with_ctes(PLANT)}
SELECT name AS "Meter", connection AS "Connection", extract(epoch FROM {NOW} - reading.time)::float8 AS "Age",
       poll_interval_s AS "Poll interval", last.state AS "State", success_percent AS "Success",
       failed AS "Failed", rejected AS "Rejected", last_error AS "Last error", reading.time AS "Last reading"
FROM plant
LEFT JOIN LATERAL (
    SELECT time FROM reading
    WHERE reading.meter_id = plant.meter_id AND time > {NOW} - interval '7 days' AND time <= {NOW}
    ORDER BY time DESC LIMIT 1
) AS reading ON true
LEFT JOIN LATERAL (
    SELECT state FROM collector_health_1m AS minute
    WHERE minute.meter_id = plant.meter_id AND $__timeFilter(minute.time) ORDER BY time DESC LIMIT 1
) AS last ON true
LEFT JOIN LATERAL (
    SELECT {_RATE}::float8 AS success_percent, sum(polls_failed) AS failed, sum(values_rejected) AS rejected,
           last(last_error, minute.time) FILTER (WHERE last_error IS NOT NULL) AS last_error
    FROM collector_health_1m AS minute
    WHERE minute.meter_id = plant.meter_id AND $__timeFilter(minute.time)
) AS counted ON true
WHERE {_CHOSEN}
ORDER BY "Age" DESC NULLS FIRST, 1""",
        {
            "Age": Column(SECONDS, decimals=0, width=90, steps=((None, GREEN), (60.0, AMBER), (300.0, RED))),
            "Poll interval": Column(SECONDS, decimals=0, width=110),
            "State": Column(labels=_STATE_NAMES, width=100),
            "Success": Column(PERCENT, decimals=2, width=100, steps=_SUCCESS),
            "Failed": Column(COUNT, decimals=0, width=80),
            "Rejected": Column(COUNT, decimals=0, width=90),
            "Last reading": Column(TIME, width=170),
        },
        width=24,
        height=10,
    )


def _over_time() -> list[Panel]:
    kinds = ("ok", "partial", "failed", "skipped")
    sums = ", ".join(f'sum(polls_{kind}) AS "{kind}"' for kind in kinds)
    return [
        series(
            "Polls",
            "Polls of the chosen meters per interval: ok (every value), partial (some blocks or values), failed (no"
            " answer),"
            " skipped (while backing off or busy). From the minutes of collector_health_1m.",
            _minutes(f"$__timeGroupAlias(minute.time, $__interval, NULL), {sums}") + "\nGROUP BY 1\nORDER BY 1",
            COUNT,
            as_bars=True,
            stacked=True,
        ),
        series(
            "Success by meter",
            "Polls that delivered, wholly or in part, of those that were due, per interval.",
            _minutes(f"$__timeGroupAlias(minute.time, $__interval, NULL), name AS metric, {_RATE}::float8 AS value")
            + "\nGROUP BY 1, 2\nORDER BY 1, 2",
            PERCENT,
            steps=_SUCCESS,
            minimum=0.0,
            maximum=100.0,
        ),
        series(
            "Round trip by meter",
            "Duration of the last successful poll of each minute, mean per interval.",
            _minutes("$__timeGroupAlias(minute.time, $__interval, NULL), name AS metric, avg(round_trip_s) AS value")
            + " AND round_trip_s IS NOT NULL\nGROUP BY 1, 2\nORDER BY 1, 2",
            SECONDS,
            decimals=3,
            minimum=0.0,
        ),
        series(
            "Rejected values by meter",
            "Values that became NULL because the device had none or they were implausible, per interval.",
            _minutes("$__timeGroupAlias(minute.time, $__interval, NULL), name AS metric, sum(values_rejected) AS value")
            + "\nGROUP BY 1, 2\nORDER BY 1, 2",
            COUNT,
            as_bars=True,
            stacked=True,
        ),
        states(
            "State by meter",
            "The worst of what each collector said of a meter in the interval.",
            _minutes(
                "$__timeGroupAlias(minute.time, $__interval, NULL), name AS metric,"
                f" max({_STATE_NUMBER})::float8 AS value"
            )
            + "\nGROUP BY 1, 2\nORDER BY 1, 2",
            _STATES,
            min_interval="1m",
            width=24,
        ),
    ]


def _not_kept() -> list[Panel]:
    return [
        records(
            "Losses",
            "Which readings could not be kept or were never taken, when and why, of those in the shown range.",
            f"""{with_ctes(PLANT)}
SELECT recorded_at AS "Recorded", name AS "Meter", readings AS "Readings", first_time AS "First", last_time AS "Last",
       reason AS "Reason"
FROM reading_loss JOIN plant USING (meter_id)
WHERE last_time >= $__timeFrom() AND first_time <= $__timeTo() AND {_CHOSEN}
ORDER BY loss_id DESC
LIMIT 200""",
            {
                "Recorded": Column(TIME, width=170),
                "Readings": Column(COUNT, decimals=0, width=100),
                "First": Column(TIME, width=170),
                "Last": Column(TIME, width=170),
            },
        ),
        records(
            "Quarantine by reason",
            "What was received in the shown range and can never become readings, by source and reason.",
            """SELECT source AS "Source", reason AS "Reason", count(*) AS "Messages", max(received_at) AS "Last"
FROM quarantine WHERE $__timeFilter(received_at)
GROUP BY source, reason
ORDER BY 3 DESC
LIMIT 50""",
            {"Messages": Column(COUNT, decimals=0, width=100), "Last": Column(TIME, width=170)},
        ),
        records(
            "Latest in quarantine",
            "The newest 50 of the shown range with the first 200 bytes of what was received.",
            """SELECT received_at AS "Received", source AS "Source", meter.name AS "Meter", reason AS "Reason",
       length(payload) AS "Bytes", encode(substring(payload FOR 200), 'escape') AS "Begins with"
FROM quarantine LEFT JOIN meter USING (meter_id)
WHERE $__timeFilter(received_at)
ORDER BY quarantine_id DESC
LIMIT 50""",
            {"Received": Column(TIME, width=170), "Bytes": Column(COUNT, decimals=0, width=80)},
            width=24,
            height=6,
        ),
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    return build_dashboard(
        "emsd-collectors",
        "Collector health",
        "Whether every meter is read, how fast, and what became of what could not be kept.",
        [variables.site(), variables.meters()],
        {
            "Shown range": _numbers(),
            "Meters": [_meters()],
            "Over time": _over_time(),
            "What was not kept": _not_kept(),
        },
        since="now-6h",
        refresh="10s",
    )
