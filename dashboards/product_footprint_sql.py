"""The footprint of products in SQL, as emsd.api.product_footprint makes it; a test holds the two together."""

from __future__ import annotations

from typing import Final

from .sql import AREA_TREE, FACTOR, FACTOR_STEP, HOURLY, NET_KWH, PLANT, TODAY, with_ctes

__all__ = ["footprint"]

_OF_SITE: Final = "site_id::text = ${site:sqlstring}"

# What an area uses itself: what its meters count less what the meters directly below them count. The yield of PV is
# negative at the meter above it, so what the sun gave counts as used there. A meter is taken off from the nearest one
# above that said something then, so that one which is new or was away moves no energy and counts none twice.
_PART: Final = (
    """linked AS (
    SELECT plant.*, coalesce(parent_meter_id, (
        SELECT min(input_meter_id) FROM virtual_meter_input AS made
        WHERE made.meter_id = plant.meter_id AND factor > 0)) AS above_id
    FROM plant
)""",
    """chain AS (
    SELECT meter_id, above_id, 1 AS depth FROM linked WHERE above_id IS NOT NULL
    UNION ALL
    SELECT chain.meter_id, linked.above_id, depth + 1 FROM chain JOIN linked ON linked.meter_id = chain.above_id
    WHERE linked.above_id IS NOT NULL AND depth < 32
)""",
    f"""counted_step AS (
    SELECT meter_id, area_id, kind, bucket, day_begins, {NET_KWH} AS kwh
    FROM linked JOIN factor_step USING (meter_id)
    WHERE measures_energy AND $__timeFilter(day_begins) AND {NET_KWH} IS NOT NULL
)""",
    """part AS (
    SELECT area_id, bucket, day_begins, kwh FROM counted_step WHERE kind <> 'pv_inverter'
    UNION ALL
    SELECT area_id, bucket, day_begins, -kwh
    FROM (
        SELECT DISTINCT ON (below.meter_id, below.bucket)
            above.area_id, above.kind, below.bucket, below.day_begins, below.kwh
        FROM counted_step AS below JOIN chain ON chain.meter_id = below.meter_id
        JOIN counted_step AS above ON above.meter_id = chain.above_id AND above.bucket = below.bucket
        ORDER BY below.meter_id, below.bucket, depth
    ) AS nearest
    WHERE kind <> 'pv_inverter'
)""",
)


def footprint(*, by_day: bool) -> str:
    """The expressions that end in `share` (product by stage) and `made` (product), of all or of each local day."""
    return with_ctes(
        PLANT,
        AREA_TREE,
        TODAY,
        HOURLY,
        FACTOR_STEP,
        *_PART,
        f"""used AS (
    SELECT area_id, {"day_begins" if by_day else "true"} AS period, sum(kwh) AS kwh, sum(kwh * kg_per_kwh) AS kg
    FROM today CROSS JOIN (
        SELECT area_id, bucket, day_begins, sum(kwh) AS kwh FROM part GROUP BY area_id, bucket, day_begins
    ) AS step {FACTOR}
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
    SELECT period, stage, coalesce(kwh, 0) AS kwh, CASE WHEN kwh IS NULL THEN 0 ELSE kg END AS kg
    FROM (SELECT DISTINCT period FROM used) AS seen CROSS JOIN production_stage
    LEFT JOIN (
        SELECT period, stage, sum(kwh) AS kwh, sum(kg) AS kg FROM used JOIN area USING (area_id) GROUP BY period, stage
    ) AS in_stage USING (period, stage)
)""",
        f"""floor AS (
    SELECT area.stage, sum(area.floor_area_m2) AS m2
    FROM area LEFT JOIN area AS above ON above.area_id = area.parent_area_id
    WHERE area.{_OF_SITE} AND area.removed_at IS NULL AND above.stage IS DISTINCT FROM area.stage GROUP BY area.stage
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
    SELECT DISTINCT bucket, {"bucket" if by_day else "true"} AS period,
           ((day + 1)::timestamp AT TIME ZONE today.time_zone) AS ends
    FROM interval_1d CROSS JOIN today WHERE $__timeFilter(bucket)
)""",
        f"""counted AS (
    SELECT day_bound.period, product_id, stage,
           sum(units * inside) AS units,
           CASE WHEN bool_and(good_units IS NOT NULL OR units = 0) THEN coalesce(sum(good_units * inside), 0) END
               AS good_units
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
