"""Carbon: emissions of the electricity, location-based, with the factor that was valid at the time."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from . import variables
from .house import build_dashboard
from .panels import Column, Panel, bars, number, records, series
from .sql import (
    AREA_TREE,
    CONSUMED_KWH,
    FACTOR,
    FACTOR_STEP,
    HOURLY,
    SCOPE_OF_AREAS,
    SCOPE_OF_SITE,
    SCOPE_OF_STAGES,
    TODAY,
    scoped,
    with_ctes,
)
from .units import COVERAGE, GREEN, KG, KG_PER_KWH, KWH, PERCENT, TIME

__all__ = ["build"]

_BASIS: Final = (
    "Energy from the grid times the location-based factor of the time: of the hour where there is one, else of the"
    " period (GHG Protocol Scope 2)."
)
_PARTS: Final = (
    "Consumption (net energy of the top meters plus PV) times the location-based factor valid at the time, as if all"
    " of it"
    " came from the grid; from the days that begin in the shown range."
)


def _site(table: str, *before: str, day: str = "bucket") -> str:
    """The expressions that end in `period`: energy of the site and the factor for each row time of a table."""
    return with_ctes(
        *scoped(SCOPE_OF_SITE),
        TODAY,
        *before,
        f"""energy AS (
    SELECT bucket, {day} AS day_begins, sum(CASE role WHEN 'net' THEN energy_import_kwh END) AS import_kwh,
           sum(CASE role WHEN 'net' THEN energy_export_kwh END) AS export_kwh,
           sum(CASE role WHEN 'generation' THEN energy_export_kwh END) AS generated_kwh,
           sum({CONSUMED_KWH}) AS consumed_kwh,
           100 * sum(coverage::float8) / (SELECT count(*) FROM part) AS coverage_percent
    FROM part JOIN {table} USING (meter_id) WHERE $__timeFilter(bucket)
    GROUP BY bucket, {day}
)""",
        f"""period AS (
    SELECT energy.*, kg_per_kwh, import_kwh * kg_per_kwh AS kg,
           greatest(0, generated_kwh - coalesce(export_kwh, 0)) * kg_per_kwh AS avoided_kg
    FROM today CROSS JOIN energy {FACTOR}
)""",
    )


def _numbers() -> list[Panel]:
    shown = _site("interval_15m")
    return [
        number("CO2", f"{_BASIS} In the shown range.", f"{shown}\nSELECT sum(kg) AS kg_co2 FROM period", KG),
        number(
            "Avoided by PV",
            "PV used on site (yield less what went to the grid) times the factor valid at the time. It stands beside"
            " the"
            " emissions and is never subtracted from them; it counts only while its certificates are not sold.",
            f"{shown}\nSELECT sum(avoided_kg) AS avoided_kg FROM period",
            KG,
            steps=((None, GREEN),),
        ),
        number(
            "Consumption",
            "Consumption of the site in the shown range: net energy of its top meters plus the yield of its PV.",
            f"{shown}\nSELECT sum(consumed_kwh) AS consumed_kwh FROM period",
            KWH,
        ),
        number(
            "Coverage",
            "Share of the time with 15-minute rows in the shown range for which the meters behind these figures have"
            " measurements no farther apart than their max_gap_s.",
            f"{shown}\nSELECT avg(coverage_percent) AS coverage_percent FROM period",
            PERCENT,
            steps=COVERAGE,
            decimals=1,
        ),
        number(
            "Energy with a factor",
            "Share of the energy from the grid for which a factor was valid; without one there is no emissions figure.",
            f"""{shown}
SELECT 100 * sum(import_kwh) FILTER (WHERE kg_per_kwh IS NOT NULL) / nullif(sum(import_kwh), 0) AS factor_percent
FROM period""",
            PERCENT,
            steps=COVERAGE,
            decimals=1,
        ),
        number(
            "Intensity of consumption",
            "CO2 over consumption in the shown range; below the grid's factor by what the site's own PV contributes.",
            f"{shown}\nSELECT sum(kg) / nullif(sum(consumed_kwh), 0) AS kg_per_kwh FROM period",
            KG_PER_KWH,
            decimals=3,
        ),
    ]


def _days() -> list[Panel]:
    daily = _site("interval_1d")
    return [
        series(
            "CO2 per day",
            f"{_BASIS} Per local day of the site; avoided by PV beside it. The running day is brought up to date every"
            " quarter hour.",
            f"""{_site("factor_step", HOURLY, FACTOR_STEP, day="day_begins")}
SELECT day_begins AS time, sum(kg) AS "Emitted", sum(avoided_kg) AS "Avoided by PV" FROM period
GROUP BY 1 ORDER BY 1""",
            KG,
            min_interval="1d",
            as_bars=True,
            width=10,
        ),
        series(
            "Coverage per day",
            "Share of each local day that is measured, mean over the meters behind the figures; days count as trusted"
            " from"
            " 90 % on. The running day is measured only so far.",
            f"""{daily}
SELECT bucket AS time, coverage_percent AS "Coverage" FROM period ORDER BY 1""",
            PERCENT,
            min_interval="1d",
            as_bars=True,
            steps=COVERAGE,
            minimum=0.0,
            maximum=100.0,
            width=7,
        ),
        series(
            "CO2 per hour",
            f"{_BASIS} From 15-minute intervals; the running hour is incomplete.",
            f"""{_site("interval_15m")}
SELECT $__timeGroupAlias(bucket, '1h', NULL), sum(kg) AS "Emitted" FROM period GROUP BY 1 ORDER BY 1""",
            KG,
            min_interval="1h",
            as_bars=True,
            width=7,
        ),
    ]


def _of_parts(members: str, *, with_areas: bool = False) -> str:
    ctes = (AREA_TREE,) if with_areas else ()
    word = "Area" if with_areas else "Stage"
    return f"""{with_ctes(*ctes, *scoped(members), TODAY, HOURLY, FACTOR_STEP)},
day AS (
    SELECT scope, bucket, sum({CONSUMED_KWH}) AS consumed_kwh, avg(coverage::float8) AS coverage
    FROM part JOIN factor_step USING (meter_id)
    GROUP BY scope, bucket
)
SELECT scope AS "{word}", sum(consumed_kwh * kg_per_kwh) AS "CO2", sum(consumed_kwh) AS "Energy",
       100 * avg(coverage) AS "Coverage"
FROM today CROSS JOIN day {FACTOR}
GROUP BY scope
ORDER BY 2 DESC NULLS LAST"""


def _parts() -> list[Panel]:
    return [
        bars(
            "CO2 by area",
            f"{_PARTS} An area holds those below it, so bars of a building and its rooms do not add up. The tooltip"
            f" shows"
            " energy and coverage.",
            _of_parts(SCOPE_OF_AREAS, with_areas=True),
            KG,
            beside={"Energy": KWH, "Coverage": PERCENT},
        ),
        bars(
            "CO2 by production stage",
            f"{_PARTS} The tooltip shows energy and coverage.",
            _of_parts(SCOPE_OF_STAGES),
            KG,
            beside={"Energy": KWH, "Coverage": PERCENT},
        ),
    ]


def _factors() -> list[Panel]:
    return [
        records(
            "Emission factors",
            "Factors of the site's region with validity and source; the highest version of a period counts, earlier"
            " ones stay so that what was reported can be computed again. Withdrawn ones have left the plant file and"
            " count for nothing.",
            """SELECT method AS "Method", valid_from AS "Valid from", valid_to AS "Valid to", kg_per_kwh AS "Factor",
       version AS "Version", withdrawn_at AS "Withdrawn", source AS "Source"
FROM carbon_factor JOIN site ON site.carbon_region = carbon_factor.region
WHERE site_id::text = ${site:sqlstring}
ORDER BY method, valid_from DESC, version DESC""",
            {
                "Method": Column(width=90),
                "Valid from": Column(TIME, width=170),
                "Valid to": Column(TIME, width=170),
                "Factor": Column(KG_PER_KWH, decimals=4, width=150),
                "Version": Column(width=80),
                "Withdrawn": Column(TIME, width=170),
            },
            width=24,
            height=6,
        )
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    return build_dashboard(
        "emsd-carbon",
        "Carbon",
        "Emissions of the electricity by day, area and stage, with the factors they come from.",
        [variables.site(), variables.areas()],
        {"Shown range": _numbers(), "Over time": _days(), "Where": _parts(), "Factors": _factors()},
        since="now-30d",
    )
