"""Alarms: what asks for a person now, what happened, what happens too often, and whether people were told."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from . import variables
from .alarm_tables import ALARM_COLUMNS, PRIORITIES, STATES, active_alarms
from .house import build_dashboard
from .panels import Column, Labels, Panel, number, records, series
from .sql import AREA_TREE, AREAS_CHOSEN, chosen, with_ctes
from .units import AMBER, BLUE, COUNT, GREEN, RED, SECONDS, TIME, Steps

__all__ = ["build"]

_CHOSEN: Final = f"{chosen('priority', 'priority')} AND {chosen('meter.key', 'meter')} AND area_id IN ({AREAS_CHOSEN})"
_ALARMS: Final = "alarm JOIN meter USING (meter_id) JOIN asset USING (asset_id)"
_OF_SITE: Final = "meter.site_id::text = ${site:sqlstring}"
_ANY: Final[Steps] = ((None, GREEN), (1.0, RED))

_NEXT_STEP: Final = """
CROSS JOIN LATERAL (
    SELECT time, transition FROM alarm_journal AS step
    WHERE step.alarm_id = alarm_journal.alarm_id AND step.journal_id > alarm_journal.journal_id
      AND step.transition IN ('acknowledge', 'reoccur')
    ORDER BY step.journal_id LIMIT 1
) AS later"""
"""The acknowledgement of an occurrence, or the occurrence that came before anybody acknowledged it."""

_TRANSITIONS: Final[Labels] = {
    "occur": ("occurred", RED),
    "reoccur": ("occurred again", RED),
    "acknowledge": ("acknowledged", BLUE),
    "return": ("returned", GREEN),
}
_DELIVERY: Final[Labels] = {
    "pending": ("waits", BLUE),
    "sending": ("is being sent", BLUE),
    "sent": ("sent", GREEN),
    "failed": ("given up", RED),
}


def _happened(*, joined: str = "", also: str = "") -> str:
    """FROM and WHERE of the chosen alarms' transitions in the shown range."""
    return f"""FROM alarm_journal JOIN alarm USING (alarm_id) JOIN meter USING (meter_id)
JOIN asset USING (asset_id){joined}
WHERE $__timeFilter(alarm_journal.time) AND {_OF_SITE} AND {_CHOSEN}{also}"""


def _occurred(*, joined: str = "") -> str:
    return _happened(joined=joined, also=" AND alarm_journal.transition IN ('occur', 'reoccur')")


def _count(title: str, about: str, condition: str, steps: Steps) -> Panel:
    return number(
        title,
        about,
        f"""{with_ctes(AREA_TREE)}
SELECT count(*) AS alarms FROM {_ALARMS}
WHERE {_OF_SITE} AND retired_at IS NULL AND {condition} AND {_CHOSEN}""",
        COUNT,
        steps=steps,
    )


def _numbers() -> list[Panel]:
    return [
        _count(
            "Unacknowledged",
            "Chosen alarms that nobody has acknowledged, whether their condition still holds or not.",
            "state IN ('unacknowledged', 'returned_unacknowledged')",
            _ANY,
        ),
        _count(
            "Acknowledged",
            "Chosen alarms that somebody has acknowledged and whose condition still holds.",
            "state = 'acknowledged'",
            ((None, BLUE),),
        ),
        _count(
            "Watched",
            "Chosen alarms that are configured, whatever their state; retired ones do not count.",
            "true",
            ((None, BLUE),),
        ),
        number(
            "Occurrences",
            "How often a chosen alarm occurred in the shown range. More than 144 a day is more than a person manages"
            " for"
            " long (one in 10 minutes, EEMUA 191).",
            f"{with_ctes(AREA_TREE)}\nSELECT count(*) AS occurrences\n{_occurred()}",
            COUNT,
        ),
        number(
            "Time to acknowledge",
            "Mean time from an occurrence of a chosen alarm in the shown range to its acknowledgement.",
            f"""{with_ctes(AREA_TREE)}
SELECT avg(extract(epoch FROM later.time - alarm_journal.time))::float8 AS seconds
{_occurred(joined=_NEXT_STEP)} AND later.transition = 'acknowledge'""",
            SECONDS,
        ),
        number(
            "Notifications given up",
            "Notifications of the shown range that did not reach their target, or of which nobody knows whether they"
            " did.",
            """SELECT count(*) FILTER (WHERE state = 'failed') AS failed
FROM notification_status JOIN meter USING (meter_id)
WHERE $__timeFilter(time) AND meter.site_id::text = ${site:sqlstring}""",
            COUNT,
            steps=_ANY,
        ),
    ]


def _history() -> list[Panel]:
    return [
        series(
            "Occurrences per day",
            "How often a chosen alarm occurred, by local day of the site and priority.",
            f"""{with_ctes(AREA_TREE)}
SELECT date_trunc('day', alarm_journal.time AT TIME ZONE time_zone) AT TIME ZONE time_zone AS time, priority AS metric,
       count(*) AS value
{_occurred(joined=" JOIN site ON site.site_id = meter.site_id")}
GROUP BY 1, 2
ORDER BY 1, 2""",
            COUNT,
            min_interval="1d",
            as_bars=True,
            stacked=True,
            decimals=0,
            width=10,
        ),
        records(
            "Most frequent",
            "Alarms that occurred most often in the shown range, how often they were acknowledged, and the fastest"
            " they came"
            " back: below a minute an alarm chatters and wants a deadband or a delay.",
            f"""{with_ctes(AREA_TREE)}
SELECT alarm AS "Alarm", meter AS "Meter", priority AS "Priority", count(*) AS "Occurrences",
       min(gap_s) AS "Fastest return", max(time) AS "Last"
FROM (
    SELECT alarm.alarm_id, alarm.name AS alarm, meter.name AS meter, priority, alarm_journal.time,
           extract(epoch FROM alarm_journal.time
               - lag(alarm_journal.time) OVER (PARTITION BY alarm.alarm_id ORDER BY journal_id))::float8 AS gap_s
    {_occurred()}
) AS occurrence
GROUP BY alarm_id, alarm, meter, priority
ORDER BY 4 DESC, 6 DESC
LIMIT 20""",
            {
                "Priority": Column(labels=PRIORITIES, width=90),
                "Occurrences": Column(COUNT, decimals=0, bar=True, width=140),
                "Fastest return": Column(SECONDS, decimals=0, width=130),
                "Last": Column(TIME, width=170),
            },
            width=14,
        ),
        records(
            "Journal",
            "Every transition of the chosen alarms in the shown range, the newest first, at most 500.",
            f"""{with_ctes(AREA_TREE)}
SELECT alarm_journal.time AS "Time", transition AS "What", alarm.name AS "Alarm", meter.name AS "Meter",
       priority AS "Priority", alarm_journal.value AS "Value", to_state AS "State then", author AS "By", note AS "Note"
{_happened()}
ORDER BY journal_id DESC
LIMIT 500""",
            {
                "Time": Column(TIME, width=170),
                "What": Column(labels=_TRANSITIONS, width=130),
                "Priority": Column(labels=PRIORITIES, width=90),
                "Value": Column(decimals=2, width=100),
                "State then": Column(labels=STATES, width=190),
            },
            width=24,
        ),
    ]


def _delivery() -> list[Panel]:
    return [
        records(
            "Notifications by target",
            "Notifications of the shown range by target and where they are on their way; waits: not sent yet, or to be"
            " tried again.",
            """SELECT target_key AS "Target", state AS "State", count(*) AS "Notifications",
       max(attempts) AS "Most attempts", max(sent_at) AS "Last sent"
FROM notification_status JOIN meter USING (meter_id)
WHERE $__timeFilter(time) AND meter.site_id::text = ${site:sqlstring}
GROUP BY target_key, state
ORDER BY 1, 2""",
            {
                "State": Column(labels=_DELIVERY, width=120),
                "Notifications": Column(COUNT, decimals=0),
                "Most attempts": Column(COUNT, decimals=0),
                "Last sent": Column(TIME, width=170),
            },
            width=10,
        ),
        records(
            "Notifications",
            "Notifications of the shown range, the newest first, at most 200: of which alarm, to whom, how many"
            " attempts."
            " Their text and errors are in the service's log and its API only.",
            """SELECT time AS "Time", alarm.name AS "Alarm", meter.name AS "Meter", transition AS "What",
       target_key AS "Target", notification_status.state AS "State", attempts AS "Attempts", sent_at AS "Sent",
       extract(epoch FROM sent_at - time)::float8 AS "Delay"
FROM notification_status JOIN alarm USING (alarm_id) JOIN meter ON meter.meter_id = alarm.meter_id
WHERE $__timeFilter(time) AND meter.site_id::text = ${site:sqlstring}
ORDER BY notification_id DESC
LIMIT 200""",
            {
                "Time": Column(TIME, width=170),
                "What": Column(labels=_TRANSITIONS, width=130),
                "State": Column(labels=_DELIVERY, width=120),
                "Sent": Column(TIME, width=170),
                "Delay": Column(SECONDS, decimals=1, width=90, steps=((None, GREEN), (30.0, AMBER), (120.0, RED))),
            },
            width=14,
        ),
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    table = records(
        "Active alarms",
        "Chosen alarms that are not normal, those that ask for a person first, then by priority and age.",
        f"{with_ctes(AREA_TREE)}\n{active_alarms(f' AND {_CHOSEN}')}",
        ALARM_COLUMNS,
        width=24,
    )
    return build_dashboard(
        "emsd-alarms",
        "Alarms",
        "What asks for a person, what happened, what happens too often, and whether people were told.",
        [variables.site(), variables.areas(), variables.meters(), variables.priorities()],
        {"Now": [*_numbers(), table], "What happened": _history(), "Who was told": _delivery()},
        since="now-7d",
        refresh="10s",
    )
