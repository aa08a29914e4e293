"""Energy balance: every bus against the meters below it, what is left over, and meters that contradict themselves."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from . import variables
from .house import build_dashboard
from .panels import Column, Panel, number, records, series
from .sql import NET_KWH, PLANT, latest, with_ctes
from .units import AMBER, BLUE, COVERAGE, GREEN, KW, KWH, PERCENT, RED, Steps

__all__ = ["build"]

_DEVIATION: Final[Steps] = ((None, GREEN), (1.0, AMBER), (2.0, RED))
_RESIDUAL: Final = (
    "Residual: what a meter counts less what the meters directly below it count, in the load convention. It is stated"
    " of the quarter hours in which the meter and all of those are known."
)

_MEMBERS: Final = (
    PLANT,
    """bus AS (
    SELECT DISTINCT parent_meter_id AS bus_id FROM plant WHERE measures_energy AND parent_meter_id IS NOT NULL
)""",
    """member AS (
    SELECT bus_id, bus_id AS meter_id, 1 AS sign FROM bus
    UNION ALL
    SELECT parent_meter_id, meter_id, -1 FROM plant WHERE measures_energy AND parent_meter_id IS NOT NULL
)""",
    "size AS (SELECT bus_id, count(*) AS members FROM member GROUP BY bus_id)",
)
"""Buses, and the meters of each with the sign that they have in its balance."""


def _balanced(table: str) -> str:
    """The expression `bucket_balance`: each bus in each bucket of an interval table, NULL while a meter is unknown."""
    return f"""bucket_balance AS (
    SELECT bus_id, bucket, members, sum(coverage::float8) FILTER (WHERE sign = 1) AS coverage,
           CASE WHEN count({NET_KWH}) = members THEN sum(sign * {NET_KWH}) END AS residual_kwh,
           CASE WHEN count({NET_KWH}) = members THEN sum({NET_KWH}) FILTER (WHERE sign = 1) END AS measured_kwh,
           CASE WHEN count({NET_KWH}) = members
                THEN sum(CASE sign WHEN 1 THEN coalesce(energy_import_kwh, 0) ELSE coalesce(energy_export_kwh, 0) END)
                END AS supply_kwh
    FROM member JOIN size USING (bus_id) JOIN {table} USING (meter_id)
    WHERE $__timeFilter(bucket)
    GROUP BY bus_id, bucket, members
)"""


_QUARTERS: Final = with_ctes(*_MEMBERS, _balanced("interval_15m"))
_DAYS: Final = with_ctes(*_MEMBERS, _balanced("interval_1d"))

_TREE: Final = """tree AS (
    SELECT bus_id, 0 AS depth, ARRAY[name] AS path FROM bus JOIN plant ON plant.meter_id = bus_id
    WHERE parent_meter_id IS NULL OR parent_meter_id NOT IN (SELECT bus_id FROM bus)
    UNION ALL
    SELECT bus.bus_id, tree.depth + 1, tree.path || plant.name
    FROM tree JOIN plant ON plant.parent_meter_id = tree.bus_id JOIN bus ON bus.bus_id = plant.meter_id
    WHERE tree.depth < 20
)"""
_ABSENT: Final = """absent AS (
    SELECT bus_id, string_agg(name, ', ' ORDER BY name) AS names
    FROM (
        SELECT member.bus_id, plant.name
        FROM member JOIN plant USING (meter_id)
        LEFT JOIN interval_15m ON interval_15m.meter_id = member.meter_id AND $__timeFilter(bucket)
             AND (energy_import_kwh IS NOT NULL OR energy_export_kwh IS NOT NULL)
        GROUP BY member.bus_id, plant.meter_id, plant.name
        HAVING count(interval_15m.bucket) < (SELECT count(DISTINCT bucket) FROM bucket_balance)
    ) AS missing
    GROUP BY bus_id
)"""


def _numbers() -> list[Panel]:
    whole = f"{_QUARTERS}\nSELECT"
    top = "FROM bucket_balance JOIN plant ON plant.meter_id = bus_id WHERE plant.parent_meter_id IS NULL"
    return [
        number(
            "Residual of all buses",
            f"{_RESIDUAL} Added up over all buses in the shown range; losses and unmetered load.",
            f"{whole} sum(residual_kwh) AS residual_kwh FROM bucket_balance",
            KWH,
            decimals=1,
        ),
        number(
            "Share of the supply",
            "Residual of all buses in percent of what came onto the buses at the top: from the grid, and from"
            " generators directly below them.",
            f"{whole} 100 * (SELECT sum(residual_kwh) FROM bucket_balance) / nullif(sum(supply_kwh), 0) AS percent"
            f" {top}",
            PERCENT,
            decimals=2,
        ),
        number(
            "Balanced time",
            "Share of the quarter hours, over all buses, in which the bus and all meters below it are known.",
            f"{whole} 100.0 * count(residual_kwh) / nullif(count(*), 0) AS balanced_percent FROM bucket_balance",
            PERCENT,
            steps=COVERAGE,
            decimals=1,
        ),
        number(
            "Largest deviation",
            "The largest of the latest deviations of a meter's counter from its own power, none older than 10 minutes"
            " at the end of the shown range.",
            f"""{with_ctes(PLANT)}
SELECT max(last.value) AS deviation_percent
FROM plant JOIN meter AS derived ON derived.derived_from = plant.meter_id AND derived.removed_at IS NULL
{latest("counter_power_deviation_percent", "derived.meter_id", at_most="10 minutes")}""",
            PERCENT,
            steps=_DEVIATION,
            decimals=2,
        ),
    ]


def _buses() -> list[Panel]:
    return [
        records(
            "Buses",
            f"{_RESIDUAL} Buses stand below those that feed them. Percent is of what came onto the bus: its import, and"
            " what generators directly below it gave. Usual is the band that the plant's description gives.",
            f"""{with_ctes(*_MEMBERS, _balanced("interval_15m"), _TREE, _ABSENT)}
SELECT repeat(E'\\u2003', depth) || plant.name AS "Bus", sum(measured_kwh) AS "Measured",
       sum(measured_kwh - residual_kwh) AS "Below", sum(residual_kwh) AS "Residual",
       100 * sum(residual_kwh) / nullif(sum(supply_kwh) FILTER (WHERE residual_kwh IS NOT NULL), 0) AS "Share",
       replace(meter.residual_kind, '_', ' ') AS "Is",
       meter.residual_low_percent || ' to ' || meter.residual_high_percent || ' %' AS "Usual",
       100.0 * count(residual_kwh) / nullif(count(*), 0) AS "Balanced",
       100 * avg(bucket_balance.coverage) AS "Coverage",
       absent.names AS "Not known all the time"
FROM tree JOIN plant ON plant.meter_id = tree.bus_id JOIN meter ON meter.meter_id = tree.bus_id
LEFT JOIN bucket_balance ON bucket_balance.bus_id = tree.bus_id LEFT JOIN absent ON absent.bus_id = tree.bus_id
GROUP BY tree.path, depth, plant.name, meter.meter_id, absent.names
ORDER BY tree.path""",
            {
                "Measured": Column(KWH, decimals=1, width=120),
                "Below": Column(KWH, decimals=1, width=120),
                "Residual": Column(KWH, decimals=1, width=120),
                "Share": Column(PERCENT, decimals=2, width=100),
                "Is": Column(width=130),
                "Usual": Column(width=130),
                "Balanced": Column(PERCENT, decimals=1, width=100, steps=COVERAGE),
                "Coverage": Column(PERCENT, decimals=1, width=100, steps=COVERAGE),
            },
            width=24,
        )
    ]


def _over_time() -> list[Panel]:
    return [
        series(
            "Residual",
            f"{_RESIDUAL} As mean power; a gap where a meter of the bus is not known.",
            f"""{_QUARTERS}
SELECT $__timeGroupAlias(bucket, $__interval, NULL), plant.name AS metric,
       sum(residual_kwh) / nullif(0.25 * count(residual_kwh), 0) AS value
FROM bucket_balance JOIN plant ON plant.meter_id = bus_id
GROUP BY 1, 2
ORDER BY 1, 2""",
            KW,
            min_interval="15m",
        ),
        series(
            "Residual in percent, live",
            "Residual in percent of what came onto the bus, as it is derived every minute and as alarms see it: over"
            " the last 1 to 60 minutes, as long as the counters' resolution asks for.",
            f"""{with_ctes(PLANT)}
SELECT $__timeGroupAlias(reading.time, $__interval, NULL), plant.name AS metric, avg(residual_percent) AS value
FROM plant JOIN meter AS derived ON derived.derived_from = plant.meter_id
JOIN reading ON reading.meter_id = derived.meter_id
WHERE $__timeFilter(reading.time) AND residual_percent IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2""",
            PERCENT,
            decimals=2,
        ),
        series(
            "Losses and unmetered load per day",
            f"{_RESIDUAL} Per local day of the site; the running day is brought up to date every quarter hour.",
            f"""{_DAYS}
SELECT bucket AS time, plant.name || coalesce(' (' || replace(meter.residual_kind, '_', ' ') || ')', '') AS metric,
       residual_kwh AS value
FROM bucket_balance JOIN plant ON plant.meter_id = bus_id JOIN meter ON meter.meter_id = bus_id
WHERE residual_kwh IS NOT NULL
ORDER BY 1, 2""",
            KWH,
            min_interval="1d",
            as_bars=True,
        ),
        series(
            "Counter against power",
            "Deviation of each meter's counter from its own power, in percent of the counter, over the last quarter"
            " hour up to a day. A lasting one is a wrong current-transformer ratio, scale, word order or sign.",
            f"""{with_ctes(PLANT)}
SELECT $__timeGroupAlias(reading.time, $__interval, NULL), plant.name AS metric,
       avg(counter_power_deviation_percent) AS value
FROM plant JOIN meter AS derived ON derived.derived_from = plant.meter_id
JOIN reading ON reading.meter_id = derived.meter_id
WHERE $__timeFilter(reading.time) AND counter_power_deviation_percent IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2""",
            PERCENT,
            decimals=2,
            steps=((None, BLUE), (2.0, RED)),
        ),
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    return build_dashboard(
        "emsd-balance",
        "Energy balance",
        "Every bus against the meters below it: losses, unmetered load, and meters that do not agree with themselves.",
        [variables.site()],
        {"Shown range": _numbers(), "Buses": _buses(), "Over time": _over_time()},
    )
