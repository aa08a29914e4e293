"""The footprint of products: energy and emissions of the stages, shared out by processed area and mask passes."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from . import variables
from .house import build_dashboard
from .panels import Column, Panel, bars, number, records, series
from .sql import AREA_TREE, FACTOR, NET_KWH, PLANT, TODAY, with_ctes
from .units import COUNT, COVERAGE, KG, KG_PER_M2, KWH, KWH_PER_M2, PERCENT, SQUARE_METRES, TIME

__all__ = ["build"]

_DAYS: Final = "From the local days that begin in the shown range."
_RULE: Final = (
    "Energy of a stage goes to its products by processed area times mask passes, scrap included; a product's burden is"
    " borne by its good units. Shared areas are spread over the stages first, as the plant file says."
)
_OF_SITE: Final = "site_id::text = ${site:sqlstring}"

# What an area uses itself: what its meters count less what the meters directly below them count. The yield of PV is
# negative at the meter above it, so what the sun gave counts as used there.
_PART: Final = (
    """linked AS (
    SELECT plant.*, coalesce(parent_meter_id, (
        SELECT min(input_meter_id) FROM virtual_meter_input AS made
        WHERE made.meter_id = plant.meter_id AND factor > 0)) AS above_id
    FROM plant WHERE measures_energy
)""",
    """part AS (
    SELECT area_id, meter_id, 1 AS sign FROM linked WHERE kind <> 'pv_inverter'
    UNION ALL
    SELECT above.area_id, below.meter_id, -1
    FROM linked AS below JOIN linked AS above ON above.meter_id = below.above_id
    WHERE above.kind <> 'pv_inverter'
)""",
)


def _footprint(period: str) -> str:
    """The expressions that end in `share` (product by stage) and `made` (product); `period` is SQL over bucket."""
    return with_ctes(
        PLANT,
        AREA_TREE,
        TODAY,
        *_PART,
        f"""used AS (
    SELECT area_id, {period} AS period, sum(kwh) AS kwh, sum(kwh * kg_per_kwh) AS kg
    FROM today CROSS JOIN (
        SELECT area_id, bucket, sum(sign * ({NET_KWH})) AS kwh
        FROM part JOIN interval_1d USING (meter_id) WHERE $__timeFilter(bucket)
        GROUP BY area_id, bucket
    ) AS day {FACTOR}
    GROUP BY 1, 2
)""",
        f"""passing AS (
    SELECT product_id, key, name, area_m2, step ->> 0 AS stage, (step ->> 1)::float8 AS passes,
           place_in_line AS line_place
    FROM product CROSS JOIN LATERAL jsonb_array_elements(product.passes) WITH ORDINALITY AS said (step, place_in_line)
    WHERE {_OF_SITE}
)""",
        """production_stage AS (SELECT DISTINCT stage FROM passing)""",
        f"""rule AS (
    SELECT DISTINCT ON (area_tree.area_id) area_tree.area_id, said ->> 'by' AS key, said -> 'shares' AS shares
    FROM area_tree JOIN area AS above ON above.area_id = area_tree.above_id
    JOIN site_production ON site_production.{_OF_SITE}
    CROSS JOIN LATERAL jsonb_array_elements(allocation) AS said
    WHERE said ->> 'area' = above.key
    ORDER BY area_tree.area_id, (SELECT count(*) FROM area_tree AS deep WHERE deep.area_id = above.area_id) DESC
)""",
        """own AS (
    SELECT period, stage, sum(kwh) AS kwh, sum(kg) AS kg
    FROM used JOIN area USING (area_id) JOIN production_stage USING (stage) GROUP BY period, stage
)""",
        """floor AS (
    SELECT area.stage, sum(area.floor_area_m2) AS m2
    FROM area LEFT JOIN area AS above ON above.area_id = area.parent_area_id
    WHERE area.removed_at IS NULL AND above.stage IS DISTINCT FROM area.stage GROUP BY area.stage
)""",
        """shared AS (
    SELECT period, area.key AS area, coalesce(rule.key, 'stage_energy') AS rule, shares, kwh, kg
    FROM used JOIN area USING (area_id) LEFT JOIN rule USING (area_id)
    WHERE area.stage IS NULL OR area.stage NOT IN (SELECT stage FROM production_stage)
)""",
        """spread AS (
    SELECT shared.period, shared.area, own.stage,
           CASE shared.rule
               WHEN 'stage_energy' THEN greatest(own.kwh, 0)
                   / nullif(sum(greatest(own.kwh, 0)) OVER (PARTITION BY shared.period, shared.area), 0)
               WHEN 'floor_area' THEN coalesce(floor.m2, 0)
                   / nullif(sum(coalesce(floor.m2, 0)) OVER (PARTITION BY shared.period, shared.area), 0)
               WHEN 'shares' THEN (shares ->> own.stage)::float8
           END AS part, shared.kwh, shared.kg
    FROM shared JOIN own USING (period) LEFT JOIN floor ON floor.stage = own.stage
)""",
        """stage_total AS (
    SELECT period, stage, sum(kwh) AS kwh, sum(kg) AS kg
    FROM (SELECT period, stage, kwh, kg FROM own
          UNION ALL SELECT period, stage, kwh * part, kg * part FROM spread WHERE part IS NOT NULL) AS burden
    GROUP BY period, stage
)""",
        f"""day_bound AS (
    SELECT DISTINCT bucket, {period} AS period,
           ((day + 1)::timestamp AT TIME ZONE today.time_zone) AS ends
    FROM interval_1d CROSS JOIN today WHERE $__timeFilter(bucket)
)""",
        f"""counted AS (
    SELECT day_bound.period, product_id, stage,
           sum(units * inside) AS units, sum(good_units * inside) AS good_units
    FROM (
        SELECT product_id, stage, from_time, to_time, units, good_units
        FROM production_current WHERE NOT withdrawn AND {_OF_SITE}
        UNION ALL
        SELECT product_id, counter ->> 'stage', bucket, bucket + interval '15 minutes', pieces, good_pieces
        FROM site_production CROSS JOIN LATERAL jsonb_array_elements(counters) AS counter
        JOIN asset ON asset.site_id = site_production.site_id AND asset.key = counter ->> 'asset'
        JOIN product ON product.site_id = site_production.site_id AND product.key = counter ->> 'product'
        JOIN asset_15m USING (asset_id)
        WHERE site_production.{_OF_SITE} AND pieces IS NOT NULL
          AND bucket >= (SELECT min(bucket) FROM day_bound) AND bucket < (SELECT max(ends) FROM day_bound)
    ) AS known JOIN day_bound ON from_time < ends AND to_time > bucket
    CROSS JOIN LATERAL (SELECT extract(epoch FROM least(to_time, ends) - greatest(from_time, bucket))
        / extract(epoch FROM to_time - from_time) AS inside) AS time_inside
    GROUP BY 1, 2, 3
)""",
        """weighed AS (
    SELECT seen.period, passing.product_id, passing.name, passing.stage, line_place,
           area_m2 * passes * coalesce(at_stage.units, whole.units) AS weight
    FROM (SELECT DISTINCT period, product_id FROM counted) AS seen JOIN passing USING (product_id)
    LEFT JOIN counted AS at_stage
        ON (at_stage.period, at_stage.product_id, at_stage.stage) = (seen.period, passing.product_id, passing.stage)
    LEFT JOIN counted AS whole
        ON (whole.period, whole.product_id) = (seen.period, passing.product_id) AND whole.stage IS NULL
)""",
        """good AS (
    SELECT DISTINCT ON (counted.period, counted.product_id) counted.period, counted.product_id, good_units
    FROM counted LEFT JOIN passing ON (passing.product_id, passing.stage) = (counted.product_id, counted.stage)
    WHERE good_units IS NOT NULL
    ORDER BY counted.period, counted.product_id, line_place DESC NULLS FIRST
)""",
        """share AS (
    SELECT period, product_id, name, stage, line_place, kwh * weight / sum(weight) OVER each AS kwh,
           kg * weight / sum(weight) OVER each AS kg
    FROM weighed JOIN stage_total USING (period, stage)
    WHERE weight > 0
    WINDOW each AS (PARTITION BY period, stage)
)""",
        """made AS (
    SELECT period, product_id, share.name, sum(kwh) AS kwh, sum(kg) AS kg, max(good_units) AS good_units,
           max(good_units) * max(product.area_m2) AS good_m2
    FROM share JOIN product USING (product_id) LEFT JOIN good USING (period, product_id)
    GROUP BY period, product_id, share.name
)""",
    )


def _numbers() -> list[Panel]:
    whole = _footprint("true")
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
    whole = _footprint("true")
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
            f"""{_footprint("bucket")}
SELECT period AS time, name AS metric, kwh / good_m2 AS value FROM made WHERE good_m2 > 0 ORDER BY 1, 2""",
            KWH_PER_M2,
            min_interval="1d",
            as_bars=True,
        ),
    ]


def _behind() -> list[Panel]:
    whole = _footprint("true")
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
            "Shared areas",
            "Energy used in areas that no product passes, how it is spread over the stages, and what of it no product"
            f" bears. {_DAYS}",
            f"""{whole}
SELECT shared.area AS "Area", shared.rule AS "Spread by", shared.kwh AS "Energy",
       shared.kwh * (1 - coalesce((SELECT sum(part) FROM spread WHERE spread.area = shared.area), 0)) AS "Not allocated"
FROM shared ORDER BY abs(shared.kwh) DESC""",
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
