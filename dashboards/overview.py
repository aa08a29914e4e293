"""Plant overview: what the site takes, makes and emits now and today, who takes it, and what needs a person."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from . import variables
from .alarm_tables import ACTIVE_ALARMS, ALARM_COLUMNS
from .house import build_dashboard
from .panels import Column, Panel, bars, dial, number, records, series
from .sql import (
    AREA_TREE,
    AREAS_CHOSEN,
    CONSUMED_KWH,
    FACTOR,
    NET_KWH,
    OF_TODAY,
    SCOPE_OF_AREAS,
    SCOPE_OF_SITE,
    TODAY,
    coverage_percent,
    latest,
    power_by_meter,
    scoped,
    with_ctes,
)
from .units import CONTRACT, COUNT, COVERAGE, GREEN, KG, KW, KWH, PERCENT, RED

__all__ = ["build"]

_SITE: Final = with_ctes(*scoped(SCOPE_OF_SITE), TODAY)
_NOW: Final = "The latest values, none older than 2 minutes at the end of the shown range; blank while one is missing."
_TODAY: Final = "Since midnight of the site, up to the end of the shown range, from 15-minute intervals."


def _power(value: str, roles: str) -> str:
    """The sum of the latest powers of meters in some roles; NULL while one of them has none."""
    return f"""{_SITE}
SELECT CASE WHEN bool_and(last.value IS NOT NULL) THEN sum({value}) END AS power_kw
FROM part {latest("active_power_kw", "part.meter_id")}
WHERE role IN ({roles})"""


def _stats() -> list[Panel]:
    consumed = f"""{_SITE}
SELECT sum({CONSUMED_KWH}) AS energy_kwh
FROM part JOIN interval_15m USING (meter_id) CROSS JOIN today WHERE {OF_TODAY}"""
    emitted = f"""{_SITE}
SELECT sum(import_kwh * kg_per_kwh) AS kg_co2
FROM today CROSS JOIN LATERAL (
    SELECT bucket, sum(energy_import_kwh) AS import_kwh
    FROM top JOIN interval_15m USING (meter_id) WHERE {OF_TODAY} GROUP BY bucket
) AS quarter {FACTOR}"""
    covered = f"""{_SITE}
SELECT {coverage_percent("(SELECT count(*) FROM part)")} AS coverage_percent
FROM part JOIN interval_15m USING (meter_id) CROSS JOIN today WHERE {OF_TODAY}"""
    alarms = """SELECT count(*) AS alarms
FROM alarm JOIN meter USING (meter_id)
WHERE site_id::text = ${site:sqlstring} AND state <> 'normal' AND retired_at IS NULL"""
    return [
        number(
            "Plant power",
            f"Consumption of the site: power at the grid connection plus what its PV gives. {_NOW}",
            _power("CASE role WHEN 'net' THEN last.value ELSE 0 - last.value END", "'net', 'generation'"),
            KW,
            width=3,
        ),
        number(
            "PV power",
            f"What the PV inverters give, positive. {_NOW}",
            _power("0 - last.value", "'generation'"),
            KW,
            width=3,
        ),
        number(
            "Grid power",
            f"Power at the top meters of the site; positive is taken from the grid, negative given to it. {_NOW}",
            _power("last.value", "'net'"),
            KW,
            width=3,
        ),
        number(
            "Energy today",
            f"Consumption of the site: net energy of its top meters plus the yield of its PV. {_TODAY}",
            consumed,
            KWH,
            width=3,
        ),
        number(
            "Coverage today",
            "Share of today's time for which the meters behind the energy figure have measurements no farther apart"
            " than"
            " their max_gap_s. Day totals are trusted from 90 % on.",
            covered,
            PERCENT,
            steps=COVERAGE,
            decimals=1,
            width=3,
        ),
        number(
            "CO2 today",
            "Energy taken from the grid times the location-based factor that was valid at the time"
            f" (GHG Protocol Scope 2). {_TODAY}",
            emitted,
            KG,
            width=3,
        ),
        dial(
            "Demand of contract",
            "Highest mean power of a complete quarter hour (wall clock) in the shown range at the top meters, as a"
            " share"
            " of the contract demand.",
            f"""{_SITE}
SELECT 100 * max(demand_kw) / max(contract_demand_kw) AS demand_percent
FROM (
    SELECT CASE WHEN count({NET_KWH}) = (SELECT count(*) FROM top) THEN sum({NET_KWH}) * 4 END AS demand_kw
    FROM top JOIN interval_15m USING (meter_id)
    WHERE $__timeFilter(bucket) AND bucket <= $__timeTo()::timestamptz - interval '15 minutes'
    GROUP BY bucket
) AS quarter CROSS JOIN today""",
            PERCENT,
            steps=CONTRACT,
            maximum=120.0,
            width=3,
        ),
        number(
            "Active alarms",
            "Alarms that are not normal: their condition holds, or nobody has acknowledged them yet.",
            alarms,
            COUNT,
            steps=((None, GREEN), (1.0, RED)),
            width=3,
        ),
    ]


def _power_panels() -> list[Panel]:
    own = f"""{with_ctes(*scoped(SCOPE_OF_SITE), power_by_meter("SELECT meter_id FROM plant WHERE measures_energy"))},
own AS (
    SELECT above.time, above.meter_id, above.power_kw - coalesce(sum(below.power_kw), 0) AS power_kw
    FROM power AS above
    LEFT JOIN plant AS child ON child.parent_meter_id = above.meter_id
    LEFT JOIN power AS below ON below.meter_id = child.meter_id AND below.time = above.time
    GROUP BY above.time, above.meter_id, above.power_kw
)
SELECT time, CASE kind WHEN 'incomer' THEN 'not metered below' ELSE replace(kind, '_', ' ') END AS metric,
       sum(power_kw) AS value
FROM own JOIN plant USING (meter_id)
GROUP BY 1, 2
ORDER BY 1, 2"""
    demand = f"""{_SITE}
SELECT $__timeGroupAlias(bucket, '15m', NULL),
       CASE WHEN count({NET_KWH}) = (SELECT count(*) FROM top) THEN sum({NET_KWH}) * 4 END AS "Demand",
       max(contract_demand_kw) AS "Contract demand"
FROM top JOIN interval_15m USING (meter_id) CROSS JOIN today
WHERE $__timeFilter(bucket) AND bucket <= $__timeTo()::timestamptz - interval '15 minutes'
GROUP BY 1
ORDER BY 1"""
    return [
        series(
            "Power by kind of equipment",
            "Mean power per interval, from the interval tables. What is metered below a meter is taken out of it, so"
            " the stack adds up to the grid connection; generation is negative. While a meter below delivers nothing,"
            " its"
            " power shows under the kind of the meter above.",
            own,
            KW,
            stacked=True,
            width=14,
        ),
        series(
            "15-minute demand",
            "Net energy of each complete quarter hour (wall clock) at the top meters, times 4, against the contract"
            " demand. A gap: a top meter has no energy for that quarter.",
            demand,
            KW,
            min_interval="15m",
            as_bars=True,
            emphasis={"Contract demand": RED},
            width=10,
        ),
    ]


def _shares() -> list[Panel]:
    by_area = f"""{with_ctes(AREA_TREE, *scoped(SCOPE_OF_AREAS), TODAY)}
SELECT scope AS "Area", sum({CONSUMED_KWH}) AS "Energy",
       {coverage_percent("(SELECT count(*) FROM part AS meters WHERE meters.scope = part.scope)")} AS "Coverage"
FROM part JOIN interval_15m USING (meter_id) CROSS JOIN today
WHERE {OF_TODAY}
GROUP BY scope
ORDER BY 2 DESC NULLS LAST"""
    consumers = f"""{with_ctes(AREA_TREE, *scoped(SCOPE_OF_SITE), TODAY)}
SELECT plant.name AS "Meter", plant.area_name AS "Area", sum({NET_KWH}) AS "Energy",
       100 * sum({NET_KWH}) / nullif(sum(sum({NET_KWH})) OVER (), 0) AS "Share",
       {coverage_percent("1")} AS "Coverage",
       sum(estimated_import_kwh + estimated_export_kwh) AS "Estimated"
FROM plant JOIN interval_15m USING (meter_id) CROSS JOIN today
WHERE {OF_TODAY} AND area_id IN ({AREAS_CHOSEN}) AND kind NOT IN ('incomer', 'pv_inverter')
  AND NOT EXISTS (SELECT FROM upstream WHERE upstream.above_id = plant.meter_id)
GROUP BY plant.meter_id, plant.name, plant.area_name
ORDER BY 3 DESC NULLS LAST
LIMIT 15"""
    return [
        bars(
            "Energy by area today",
            "Consumption of each chosen area: net energy of its top meters plus PV in it. An area holds those below"
            " it, so"
            f" bars of a building and its rooms do not add up. The tooltip shows the coverage. {_TODAY}",
            by_area,
            KWH,
            beside={"Coverage": PERCENT},
            width=10,
        ),
        records(
            "Top consumers today",
            "The meters in the chosen areas with the most energy, of those with no other meter below them. Estimated is"
            f" the part that was spread over gaps longer than max_gap_s. {_TODAY}",
            consumers,
            {
                "Energy": Column(KWH, decimals=1, bar=True),
                "Share": Column(PERCENT, decimals=1, width=90),
                "Coverage": Column(PERCENT, decimals=1, width=100, steps=COVERAGE),
                "Estimated": Column(KWH, decimals=1, width=110),
            },
            width=14,
        ),
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    return build_dashboard(
        "emsd-overview",
        "Plant overview",
        "What the site takes, makes and emits, who takes it, and what needs a person.",
        [variables.site(), variables.areas()],
        {
            "Now and today": _stats(),
            "Power": _power_panels(),
            "Who": _shares(),
            "Alarms": [
                records(
                    "Active alarms",
                    "Alarms that are not normal, those that ask for a person first, then by priority and age.",
                    ACTIVE_ALARMS,
                    ALARM_COLUMNS,
                    width=24,
                )
            ],
        },
        refresh="10s",
    )
