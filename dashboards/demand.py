"""Demand: where the running settlement period will end, and the highest ones of day, month and year."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from . import variables
from .house import build_dashboard
from .panels import Column, Panel, dial, number, records, series
from .sql import NOW, SCOPE_OF_SITE, TODAY, latest, scoped, with_ctes
from .units import AMBER, BLUE, CONTRACT, COUNT, COVERAGE, GREEN, KW, MINUTES, PERCENT, RED, TIME, Steps

__all__ = ["build"]

_TRUSTED: Final = "Only settlement periods count of which at least 90 % are measured at every top meter of the site."
_RUNNING: Final = (
    "Computed every minute from the settled minutes of the site's top meters; blank when older than 5 minutes."
)
_LEFT: Final[Steps] = ((None, RED), (5.0, AMBER), (10.0, GREEN))
_HEADROOM: Final[Steps] = ((None, RED), (0.0, AMBER), (500.0, GREEN))
_UNTRUSTED: Final[Steps] = ((None, GREEN), (1.0, AMBER), (10.0, RED))
_OF_CONTRACT: Final = "100 * demand_kw / contract_demand_kw"


def _running(value: str, quantity: str) -> str:
    """The latest of a derived quantity; `value` aggregates it over the top meters."""
    return f"""{with_ctes(*scoped(SCOPE_OF_SITE), TODAY)}
SELECT {value} AS value
FROM top JOIN meter AS derived ON derived.derived_from = top.meter_id
{latest(quantity, "derived.meter_id", at_most="5 minutes")}
CROSS JOIN today
GROUP BY contract_demand_kw"""


def _total(of: str = "last.value") -> str:
    return f"CASE WHEN bool_and(last.value IS NOT NULL) THEN sum({of}) END"


def _blocks(since: str) -> str:
    """The expressions that end in `block` (time, demand_kw, coverage): whole settlement periods from an instant on.

    Those of 15, 30 and 60 minutes are put together from quarter hours, those of 10 from minutes; they follow the clock
    on the wall of the site.
    """
    taken = f"bucket >= {since} AND bucket < {NOW} AND meter_id IN (SELECT meter_id FROM top)"
    return with_ctes(
        *scoped(SCOPE_OF_SITE),
        TODAY,
        """settlement AS (
    SELECT demand_period_min AS minutes, make_interval(mins => demand_period_min) AS length,
           timestamp '2000-01-01' AT TIME ZONE time_zone AS origin
    FROM site WHERE site_id::text = ${site:sqlstring}
)""",
        f"""part_of_block AS (
    SELECT bucket, meter_id, energy_import_kwh, coverage::float8 * 15 AS covered_min
    FROM interval_15m WHERE (SELECT minutes % 15 = 0 FROM settlement) AND {taken}
    UNION ALL
    SELECT bucket, meter_id, energy_import_kwh, coverage::float8 AS covered_min
    FROM interval_1m WHERE (SELECT minutes % 15 <> 0 FROM settlement) AND {taken}
)""",
        """of_meter AS (
    SELECT time_bucket(length, bucket, origin) AS time, meter_id, minutes, length,
           sum(energy_import_kwh) AS energy_kwh, sum(covered_min) / minutes AS coverage
    FROM part_of_block CROSS JOIN settlement
    GROUP BY 1, meter_id, minutes, length
)""",
        f"""block AS (
    SELECT time, sum(energy_kwh) * 60 / minutes AS demand_kw,
           CASE WHEN count(*) = (SELECT count(*) FROM top) THEN min(coverage) ELSE 0 END AS coverage
    FROM of_meter WHERE time + length <= {NOW}
    GROUP BY time, minutes
)""",
    )


_SINCE: Final = {
    "today": "(SELECT began FROM today)",
    "this month": f"(SELECT date_trunc('month', {NOW} AT TIME ZONE time_zone) AT TIME ZONE time_zone FROM today)",
    "this year": f"(SELECT date_trunc('year', {NOW} AT TIME ZONE time_zone) AT TIME ZONE time_zone FROM today)",
}


def _running_period() -> list[Panel]:
    return [
        dial(
            "Forecast of contract",
            f"Demand of the running settlement period if the mean power of the last minutes goes on, as a share of the"
            f" contract demand. {_RUNNING}",
            _running(f"100 * {_total()} / contract_demand_kw", "demand_forecast_kw"),
            PERCENT,
            steps=CONTRACT,
            maximum=120,
        ),
        number(
            "Forecast",
            f"Demand of the running settlement period if the mean power of the last three minutes goes on to its end."
            f" {_RUNNING}",
            _running(_total(), "demand_forecast_kw"),
            KW,
        ),
        number(
            "Demand",
            f"Mean power over the last settlement period's length, at any minute; at its end that is the period's"
            f" demand. {_RUNNING}",
            _running(_total(), "demand_kw"),
            KW,
        ),
        number(
            "Headroom",
            f"Mean power that the site may still draw in the rest of the running period without exceeding the contract;"
            f" less than 0 when it is exceeded whatever is done. {_RUNNING}",
            _running("min(last.value)", "demand_headroom_kw"),
            KW,
            steps=_HEADROOM,
        ),
        number(
            "Time to spare",
            f"Until the energy that the contract allows in the running period is used up at the present power; the"
            f" period's full length means not in this one. {_RUNNING}",
            _running("min(last.value)", "demand_minutes_left"),
            MINUTES,
            steps=_LEFT,
            decimals=1,
        ),
        number(
            "Periods not trusted",
            "Settlement periods of the shown range that are less than 90 % measured or of which nothing is stored; they"
            " count for no maximum.",
            f"""{_blocks("$__timeFrom()::timestamptz")}
SELECT (SELECT count(*) FROM generate_series(time_bucket(length, $__timeFrom()::timestamptz + length, origin),
            {NOW} - length, length))
       - (SELECT count(*) FROM block WHERE coverage >= 0.9 AND time >= $__timeFrom()::timestamptz) AS periods
FROM settlement""",
            COUNT,
            steps=_UNTRUSTED,
        ),
    ]


def _over_time() -> list[Panel]:
    return [
        series(
            "Demand and its forecast",
            "Mean power over the last settlement period's length and the forecast of the running one, minute by minute,"
            " against the contract. A gap: a top meter delivered too little.",
            f"""{with_ctes(*scoped(SCOPE_OF_SITE), TODAY)}
SELECT $__timeGroupAlias(time, $__interval, NULL), avg(demand_kw) AS "Demand", avg(forecast_kw) AS "Forecast",
       max(contract_demand_kw) AS "Contract demand"
FROM (
    SELECT reading.time, CASE WHEN count(demand_kw) = (SELECT count(*) FROM top) THEN sum(demand_kw) END AS demand_kw,
           CASE WHEN count(demand_forecast_kw) = (SELECT count(*) FROM top) THEN sum(demand_forecast_kw) END
               AS forecast_kw
    FROM top JOIN meter AS derived ON derived.derived_from = top.meter_id
    JOIN reading ON reading.meter_id = derived.meter_id
    WHERE $__timeFilter(reading.time)
    GROUP BY reading.time
) AS together CROSS JOIN today
GROUP BY 1
ORDER BY 1""",
            KW,
            emphasis={"Contract demand": RED},
        ),
        series(
            "Demand of settlement periods",
            f"Mean power drawn over each settlement period (wall clock), against the contract. {_TRUSTED}",
            f"""{_blocks("$__timeFrom()::timestamptz")}
SELECT time, CASE WHEN coverage >= 0.9 THEN demand_kw END AS "Demand", contract_demand_kw AS "Contract demand"
FROM block CROSS JOIN today
ORDER BY 1""",
            KW,
            min_interval="15m",
            as_bars=True,
            emphasis={"Contract demand": RED},
        ),
    ]


def _highest() -> list[Panel]:
    found = [
        number(
            f"Highest {word}",
            f"Highest demand of a settlement period {word}, in the time of the site up to the end of the shown range."
            f" {_TRUSTED}",
            f"{_blocks(since)}\nSELECT max(demand_kw) AS demand_kw FROM block WHERE coverage >= 0.9",
            KW,
        )
        for word, since in _SINCE.items()
    ]
    found.append(
        number(
            "Highest sliding window",
            "Highest mean power over a window of the settlement period's length that may begin at any minute of the"
            " shown range: what a shifted clock would have measured. Windows of which 90 % are measured.",
            f"""{_blocks("$__timeFrom()::timestamptz")},
minute AS (
    SELECT bucket, sum(energy_import_kwh) AS energy_kwh,
           CASE WHEN count(*) = (SELECT count(*) FROM top) THEN min(coverage::float8) ELSE 0 END AS coverage
    FROM interval_1m WHERE $__timeFilter(bucket) AND meter_id IN (SELECT meter_id FROM top)
    GROUP BY bucket
),
sliding AS (
    SELECT sum(energy_kwh) OVER back * 60 / minutes AS demand_kw, sum(coverage) OVER back / minutes AS coverage
    FROM minute CROSS JOIN settlement
    WINDOW back AS (
        ORDER BY bucket
        RANGE BETWEEN (SELECT length - interval '1 minute' FROM settlement) PRECEDING AND CURRENT ROW)
)
SELECT max(demand_kw) AS demand_kw FROM sliding WHERE coverage >= 0.9""",
            KW,
        )
    )
    found.append(
        number(
            "Highest this year of contract",
            f"Highest demand of this year as a share of the demand that is agreed now. {_TRUSTED}",
            f"""{_blocks(_SINCE["this year"])}
SELECT max({_OF_CONTRACT}) AS contract_percent FROM block CROSS JOIN today WHERE coverage >= 0.9""",
            PERCENT,
            steps=CONTRACT,
            decimals=1,
        )
    )
    found.append(
        number(
            "Contract demand",
            "Demand that is agreed with the supplier at the end of the shown range, from the plant's description.",
            f"{with_ctes(TODAY)}\nSELECT contract_demand_kw FROM today",
            KW,
            steps=((None, BLUE),),
        )
    )
    return found


def _records() -> list[Panel]:
    return [
        records(
            "Highest periods",
            f"The twenty settlement periods of highest demand in the shown range with their share of the contract"
            f" and the part of their time that is measured. {_TRUSTED}",
            f"""{_blocks("$__timeFrom()::timestamptz")}
SELECT time AS "Begin", demand_kw AS "Demand", {_OF_CONTRACT} AS "Of contract", 100 * coverage AS "Coverage"
FROM block CROSS JOIN today
WHERE coverage >= 0.9
ORDER BY demand_kw DESC LIMIT 20""",
            {
                "Begin": Column(TIME, width=180),
                "Demand": Column(KW, decimals=1, bar=True),
                "Of contract": Column(PERCENT, decimals=1, width=120, steps=CONTRACT),
                "Coverage": Column(PERCENT, decimals=1, width=100, steps=COVERAGE),
            },
        ),
        records(
            "Highest period of each day",
            f"The settlement period of highest demand on each local day of the shown range. {_TRUSTED}",
            f"""{_blocks("$__timeFrom()::timestamptz")}
SELECT DISTINCT ON (day) day AS "Day", time AS "Begin", demand_kw AS "Demand", {_OF_CONTRACT} AS "Of contract"
FROM block CROSS JOIN today
CROSS JOIN LATERAL (SELECT to_char(time AT TIME ZONE time_zone, 'YYYY-MM-DD') AS day) AS local
WHERE coverage >= 0.9
ORDER BY day DESC, demand_kw DESC""",
            {
                "Day": Column(width=110),
                "Begin": Column(TIME, width=180),
                "Demand": Column(KW, decimals=1, bar=True),
                "Of contract": Column(PERCENT, decimals=1, width=120, steps=CONTRACT),
            },
        ),
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    return build_dashboard(
        "emsd-demand",
        "Demand",
        "Where the running settlement period will end, and the highest demand of day, month and year.",
        [variables.site()],
        {
            "Running settlement period": _running_period(),
            "Over time": _over_time(),
            "Highest": _highest(),
            "Periods": _records(),
        },
    )
