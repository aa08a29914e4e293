"""Panels that several dashboards show alike: power and energy of chosen meters, always with their coverage."""

from __future__ import annotations

from typing import Final

from .panels import Column, Labels, Panel, number, records, series
from .sql import (
    CONSUMED_KWH,
    OF_TODAY,
    TODAY,
    coverage_percent,
    latest,
    power_by_meter,
    scoped,
    with_ctes,
)
from .units import AMBER, BLUE, COVERAGE, GREEN, KW, KWH, PERCENT, RED, TIME

__all__ = [
    "RUN_STATES",
    "TODAY_WORDS",
    "asset_energy",
    "energy_per_hour",
    "power_now",
    "power_over_time",
    "today_numbers",
]

TODAY_WORDS: Final = "Since midnight of the site, up to the end of the shown range, from 15-minute intervals."

# The places of emsd.quantities.RunState, which `run_state` stores.
RUN_STATES: Final[Labels] = {
    "0": ("off", "gray"),
    "1": ("starting", "light-blue"),
    "2": ("running", GREEN),
    "3": ("loaded", GREEN),
    "4": ("unloaded", AMBER),
    "5": ("standby", BLUE),
    "6": ("throttled", "yellow"),
    "7": ("stopping", "light-blue"),
    "8": ("fault", RED),
    "9": ("service", "purple"),
}


def power_now(members: str, about: str, *, ctes: tuple[str, ...] = (), sign: str = "", width: int = 4) -> Panel:
    """Return the latest power of the top meters of a scope [kW]; `sign` is "0 - " for what a generator gives."""
    return number(
        "Power",
        f"{about} The latest values, none older than 2 minutes at the end of the shown range; blank while one is"
        f" missing.",
        f"""{with_ctes(*ctes, *scoped(members))}
SELECT CASE WHEN bool_and(last.value IS NOT NULL) THEN {sign}sum(last.value) END AS power_kw
FROM top {latest("active_power_kw", "top.meter_id")}""",
        KW,
        width=width,
    )


def today_numbers(members: str, about: str, *, ctes: tuple[str, ...] = (), width: int = 4) -> list[Panel]:
    """Return today's energy of a scope [kWh], and beside it the coverage [%]."""
    begin = with_ctes(*ctes, *scoped(members), TODAY)
    rows = f"FROM part JOIN interval_15m USING (meter_id) CROSS JOIN today WHERE {OF_TODAY}"
    return [
        number(
            "Energy today",
            f"{about} {TODAY_WORDS}",
            f"{begin}\nSELECT sum({CONSUMED_KWH}) AS energy_kwh\n{rows}",
            KWH,
            width=width,
        ),
        number(
            "Coverage today",
            "Share of today's time for which the meters behind the energy figure have measurements no farther apart"
            " than"
            " their max_gap_s. Day totals are trusted from 90 % on.",
            f"{begin}\nSELECT {coverage_percent('(SELECT count(*) FROM part)')} AS coverage_percent\n{rows}",
            PERCENT,
            steps=COVERAGE,
            decimals=1,
            width=width,
        ),
    ]


def power_over_time(title: str, about: str, members: str, *, sign: str = "", width: int = 12) -> Panel:
    """Return the mean power of each scope over time [kW]; `members` as for `scoped`."""
    return series(
        title,
        f"{about} Mean per interval, from the interval tables; a gap where a top meter delivered nothing.",
        f"""{with_ctes(*scoped(members), power_by_meter("SELECT meter_id FROM top"))}
SELECT time, scope AS metric,
       CASE WHEN count(power_kw) = (SELECT count(*) FROM top AS meters WHERE meters.scope = top.scope)
            THEN {sign}sum(power_kw) END AS value
FROM power JOIN top USING (meter_id)
GROUP BY time, scope
ORDER BY 1, 2""",
        KW,
        width=width,
    )


def energy_per_hour(about: str, members: str, *, width: int = 12) -> Panel:
    """Return the energy of each scope, hour by hour [kWh]."""
    return series(
        "Energy per hour",
        f"{about} From 15-minute intervals; the running hour is incomplete. The coverage stands in the table.",
        f"""{with_ctes(*scoped(members))}
SELECT $__timeGroupAlias(bucket, '1h', NULL), scope AS metric, sum({CONSUMED_KWH}) AS value
FROM part JOIN interval_15m USING (meter_id)
WHERE $__timeFilter(bucket)
GROUP BY 1, 2
ORDER BY 1, 2""",
        KWH,
        min_interval="1h",
        as_bars=True,
        stacked=True,
        width=width,
    )


def asset_energy(members: str, word: str, *, width: int = 12) -> Panel:
    """Return today's energy, coverage and estimated part of each scope as a table whose first column is `word`."""
    return records(
        "Energy today",
        "Energy, the share of today's time that is measured, the part of the energy that was spread over longer gaps,"
        f" and mean and highest power. {TODAY_WORDS}",
        f"""{with_ctes(*scoped(members), TODAY)}
SELECT scope AS "{word}", sum({CONSUMED_KWH}) AS "Energy",
       {coverage_percent("(SELECT count(*) FROM part AS meters WHERE meters.scope = part.scope)")} AS "Coverage",
       sum(estimated_import_kwh + estimated_export_kwh) AS "Estimated",
       avg(power_avg_kw) * count(DISTINCT meter_id) AS "Mean power", max(power_max_kw) AS "Highest power",
       max(computed_at) AS "Computed"
FROM part JOIN interval_15m USING (meter_id) CROSS JOIN today
WHERE {OF_TODAY}
GROUP BY scope
ORDER BY 2 DESC NULLS LAST""",
        {
            "Energy": Column(KWH, decimals=1, bar=True),
            "Coverage": Column(PERCENT, decimals=1, width=100, steps=COVERAGE),
            "Estimated": Column(KWH, decimals=1, width=110),
            "Mean power": Column(KW, decimals=1, width=110),
            "Highest power": Column(KW, decimals=1, width=120),
            "Computed": Column(TIME, width=170),
        },
        width=width,
    )
