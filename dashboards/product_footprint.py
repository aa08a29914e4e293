"""The footprint of products: energy and emissions of the stages, shared out by processed area and mask passes."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from . import variables
from .house import build_dashboard
from .panels import Column, Panel, bars, number, records, series
from .product_footprint_sql import footprint
from .units import COUNT, COVERAGE, KG, KG_PER_M2, KWH, KWH_PER_M2, PERCENT, SQUARE_METRES, TIME

__all__ = ["build"]

_DAYS: Final = "From the local days that begin in the shown range."
_RULE: Final = (
    "Energy of a stage goes to its products by processed area times mask passes, scrap included; a product's burden is"
    " borne by its good units. Shared areas are spread over the stages first, as the plant file says."
)


def _numbers() -> list[Panel]:
    whole = footprint(by_day=False)
    return [
        number(
            "Allocated energy",
            f"Energy that products bear. {_RULE} {_DAYS}",
            f"{whole}\nSELECT sum(kwh) AS kwh FROM made",
            KWH,
            width=6,
        ),
        number(
            "Allocated emissions",
            f"Location-based emissions of the energy that products bear. {_DAYS}",
            f"{whole}\nSELECT sum(kg) AS kg FROM made",
            KG,
            width=6,
        ),
        number(
            "Share allocated",
            f"Energy that products bear over all energy used at the site, PV used on site included. {_DAYS}",
            f"{whole}\nSELECT 100 * (SELECT sum(kwh) FROM made) / nullif((SELECT sum(kwh) FROM used), 0) AS percent",
            PERCENT,
            steps=COVERAGE,
            decimals=1,
            width=6,
        ),
        number(
            "Emissions of good product",
            f"Location-based emissions of a square metre of good product, all products together. {_DAYS}",
            f"{whole}\nSELECT sum(kg) / nullif(sum(good_m2), 0) AS kg_per_m2 FROM made",
            KG_PER_M2,
            decimals=2,
            width=6,
        ),
    ]


def _products() -> list[Panel]:
    whole = footprint(by_day=False)
    return [
        records(
            "Products",
            f"Good units, energy and location-based emissions of each product. {_RULE} {_DAYS}",
            f"""{whole}
SELECT name AS "Product", good_units AS "Good units", good_m2 AS "Good area", kwh AS "Energy", kg AS "CO2",
       kwh / nullif(good_units, 0) AS "Energy per unit", kg / nullif(good_units, 0) AS "CO2 per unit",
       kwh / nullif(good_m2, 0) AS "Energy per m2", kg / nullif(good_m2, 0) AS "CO2 per m2"
FROM made ORDER BY kwh DESC""",
            {
                "Good units": Column(COUNT, decimals=0),
                "Good area": Column(SQUARE_METRES, decimals=1),
                "Energy": Column(KWH, decimals=1, bar=True),
                "CO2": Column(KG, decimals=1),
                "Energy per unit": Column(KWH, decimals=3),
                "CO2 per unit": Column(KG, decimals=3),
                "Energy per m2": Column(KWH_PER_M2, decimals=1),
                "CO2 per m2": Column(KG_PER_M2, decimals=2),
            },
            width=24,
            height=6,
        ),
        bars(
            "CO2 per m2 by product",
            f"Location-based emissions of a square metre of good product. {_DAYS} The tooltip shows energy per m2.",
            f"""{whole}
SELECT name AS "Product", kg / good_m2 AS "CO2 per m2", kwh / good_m2 AS "Energy per m2"
FROM made WHERE good_m2 > 0 AND kg IS NOT NULL ORDER BY 2 DESC""",
            KG_PER_M2,
            beside={"Energy per m2": KWH_PER_M2},
        ),
        series(
            "Energy per m2 and day",
            "Energy of a square metre of good product, per local day of the site, each day allocated for itself. Days"
            " with few good units stand out: the plant's base load is borne by them.",
            f"""{footprint(by_day=True)}
SELECT period AS time, name AS metric, kwh / good_m2 AS value FROM made WHERE good_m2 > 0 ORDER BY 1, 2""",
            KWH_PER_M2,
            min_interval="1d",
            as_bars=True,
        ),
    ]


def _behind() -> list[Panel]:
    whole = footprint(by_day=False)
    return [
        records(
            "Stages of products",
            f"What each stage adds to each product, shared areas included. {_DAYS}",
            f"""{whole}
SELECT share.name AS "Product", stage AS "Stage", share.kwh AS "Energy", share.kg AS "CO2",
       100 * share.kwh / nullif(made.kwh, 0) AS "Share", share.kwh / nullif(good_m2, 0) AS "Energy per m2"
FROM share JOIN made USING (product_id) ORDER BY 1, line_place, share.kwh DESC""",
            {
                "Energy": Column(KWH, decimals=1, bar=True),
                "CO2": Column(KG, decimals=1),
                "Share": Column(PERCENT, decimals=1, width=90),
                "Energy per m2": Column(KWH_PER_M2, decimals=2),
            },
        ),
        records(
            "Shared areas and what no product bears",
            "Energy used in areas that no product passes, how it is spread over the stages, and what of it is not;"
            f" stages that no product passed. {_DAYS}",
            f"""{whole}
SELECT shared.area AS "Area", shared.rule AS "Spread by", shared.kwh AS "Energy",
       shared.kwh * (1 - coalesce((SELECT sum(part) FROM spread WHERE spread.area = shared.area), 0)) AS "Not allocated"
FROM shared
UNION ALL
SELECT 'stage ' || stage, 'no product passed it', kwh, kwh FROM stage_total
WHERE kwh <> 0 AND stage NOT IN (SELECT stage FROM share) ORDER BY 4 DESC, 3 DESC""",
            {"Energy": Column(KWH, decimals=1), "Not allocated": Column(KWH, decimals=1)},
        ),
        records(
            "Counts of production",
            "Counts that hold now and touch the shown range, the latest first; a correction is a new version.",
            """SELECT from_time AS "From", to_time AS "To", product.name AS "Product",
       coalesce(stage, 'whole line') AS "Stage", units AS "Units", good_units AS "Good units",
       external_id AS "Number", version AS "Version", author AS "Author", note AS "Note"
FROM production_current JOIN product USING (product_id)
WHERE production_current.site_id::text = ${site:sqlstring} AND NOT withdrawn
  AND to_time > $__timeFrom()::timestamptz AND from_time < $__timeTo()::timestamptz
ORDER BY from_time DESC, 3 LIMIT 500""",
            {
                "From": Column(TIME, width=170),
                "To": Column(TIME, width=170),
                "Units": Column(COUNT, decimals=0),
                "Good units": Column(COUNT, decimals=0),
            },
            width=24,
        ),
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    return build_dashboard(
        "emsd-product-footprint",
        "Product footprint",
        "Energy and emissions of products by unit, area and stage, and what of the site's energy no product bears.",
        [variables.site()],
        {"Shown range": _numbers(), "Products": _products(), "Behind the figures": _behind()},
        since="now-30d",
    )
