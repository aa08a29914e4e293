"""Reusable pieces of SQL for Grafana's PostgreSQL datasource with TimescaleDB.

Every text here still holds Grafana's macros and variables: `$__timeFilter(bucket)`, `${site:sqlstring}`.
Lists of chosen values are compared with `= ANY (ARRAY[...]::text[])`, because `IN ()` is an error when a list is empty.

"Now" is the end of the shown range, so that a past range shows what was so then.

Two rules keep sums right:

top meters   a total over meters counts only those that have no other meter of the same scope upstream
own power    where a stack is to add up, what is metered below a meter is taken out of it
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = [
    "AREAS_CHOSEN",
    "AREA_TREE",
    "CONSUMED_KWH",
    "FACTOR",
    "FACTOR_STEP",
    "HOURLY",
    "NET_KWH",
    "NOW",
    "OF_TODAY",
    "PLANT",
    "SCOPE_OF_AREAS",
    "SCOPE_OF_SITE",
    "SCOPE_OF_STAGES",
    "TODAY",
    "UPSTREAM",
    "chosen",
    "coverage_percent",
    "latest",
    "power_by_meter",
    "raw_by_asset",
    "scoped",
    "with_ctes",
]

NOW: Final = "$__timeTo()::timestamptz"

NET_KWH: Final = "coalesce(energy_import_kwh - coalesce(energy_export_kwh, 0), -energy_export_kwh)"
"""Import less export; NULL when neither is known."""

CONSUMED_KWH: Final = f"CASE role WHEN 'net' THEN {NET_KWH} ELSE energy_export_kwh END"
"""What a row of an interval table adds to the consumption of its scope; see `scoped`."""

PLANT: Final = """plant AS (
    SELECT meter.meter_id, meter.key, meter.name, meter.parent_meter_id, meter.connection,
           meter.measures_energy AND meter.counts AS measures_energy,
           meter.poll_interval_s, asset.key AS asset_key, asset.name AS asset_name, asset.kind, asset.rated_power_kw,
           area.area_id, area.key AS area_key, area.name AS area_name, area.stage
    FROM meter JOIN asset USING (asset_id) JOIN area USING (area_id)
    WHERE meter.site_id::text = ${site:sqlstring} AND meter.removed_at IS NULL AND meter.kind <> 'derived'
)"""
"""Meters with their places. A virtual meter that is a view on others does not measure energy here: sums count once."""

UPSTREAM: Final = """upstream AS (
    SELECT meter_id, parent_meter_id AS above_id FROM plant WHERE parent_meter_id IS NOT NULL
    UNION
    SELECT upstream.meter_id, higher.above_id
    FROM upstream JOIN (
        SELECT meter_id, parent_meter_id AS above_id FROM plant WHERE parent_meter_id IS NOT NULL
        UNION ALL
        SELECT meter_id, input_meter_id FROM virtual_meter_input WHERE factor > 0
    ) AS higher ON higher.meter_id = upstream.above_id
)"""
"""Every meter with each meter upstream of it, those that a virtual one upstream is made of too; UNION ends a loop."""

AREA_TREE: Final = """area_tree AS (
    SELECT area_id AS above_id, area_id FROM area
    WHERE site_id::text = ${site:sqlstring} AND removed_at IS NULL
    UNION
    SELECT area_tree.above_id, area.area_id
    FROM area_tree JOIN area ON area.parent_area_id = area_tree.area_id
    WHERE area.removed_at IS NULL
)"""
"""Every area with itself and each area below it."""

TODAY: Final = f"""today AS (
    SELECT time_zone, carbon_region, (
               SELECT agreed.contract_demand_kw FROM contract_demand AS agreed
               WHERE agreed.site_id = site.site_id AND valid_from <= {NOW} ORDER BY valid_from DESC LIMIT 1
           ) AS contract_demand_kw, {NOW} AS until,
           date_trunc('day', {NOW} AT TIME ZONE time_zone) AT TIME ZONE time_zone AS began
    FROM site WHERE site_id::text = ${{site:sqlstring}}
)"""
"""The local day of the site in which the shown range ends, and the demand that is agreed then."""

OF_TODAY: Final = f"bucket >= today.began AND bucket < today.until AND bucket > {NOW} - interval '26 hours'"
"""The last condition says nothing more, but it is constant: the planner leaves out the chunks of other days by it."""

FACTOR: Final = """LEFT JOIN LATERAL (
    SELECT coalesce(
        (SELECT kg_per_kwh::float8 FROM carbon_factor_hour JOIN carbon_factor_import USING (import_id)
         WHERE region = today.carbon_region AND method = 'location'
           AND begins_at <= bucket AND begins_at > bucket - interval '1 hour' AND ends_at > bucket
           AND NOT EXISTS (SELECT FROM carbon_factor_withdrawal AS taken
               WHERE taken.import_id = carbon_factor_import.import_id)
         ORDER BY version DESC LIMIT 1),
        (SELECT kg_per_kwh FROM carbon_factor
         WHERE region = today.carbon_region AND method = 'location' AND withdrawn_at IS NULL
           AND valid_from <= bucket AND (valid_to IS NULL OR valid_to > bucket)
         ORDER BY version DESC, valid_from DESC LIMIT 1)) AS kg_per_kwh
) AS factor ON true"""
"""The location-based factor that applied when `bucket` began: that of the hour, else that of the period; of several the
highest version, of those the latest. Wants TODAY."""

FACTOR_STEP: Final = """factor_step AS (
    SELECT meter_id, bucket, bucket AS day_begins, energy_import_kwh, energy_export_kwh, coverage
    FROM interval_1d WHERE $__timeFilter(bucket) AND NOT (SELECT by_hour FROM hourly)
    UNION ALL
    SELECT meter_id, bucket,
           date_trunc('day', bucket AT TIME ZONE time_zone) AT TIME ZONE time_zone, energy_import_kwh,
           energy_export_kwh, coverage
    FROM today CROSS JOIN interval_15m WHERE $__timeFilter(bucket) AND (SELECT by_hour FROM hourly)
)"""
"""Rows of an interval table within which no factor changes: local days, or quarter hours where the shown range has
factors by the hour; `day_begins` is the local day that they belong to. Wants TODAY and HOURLY."""

HOURLY: Final = """hourly AS (
    SELECT EXISTS (
        SELECT FROM carbon_factor_hour JOIN carbon_factor_import USING (import_id) CROSS JOIN today
        WHERE region = today.carbon_region AND method = 'location' AND $__timeFilter(begins_at)
    ) AS by_hour
)"""

SCOPE_OF_SITE: Final = "SELECT 'site' AS scope, meter_id FROM plant WHERE measures_energy"
SCOPE_OF_STAGES: Final = "SELECT stage AS scope, meter_id FROM plant WHERE measures_energy AND stage IS NOT NULL"


def chosen(column: str, variable: str) -> str:
    """Return the condition that `column` is among the values chosen for a template variable; none chosen, none is."""
    return f"{column} = ANY (ARRAY[${{{variable}:sqlstring}}]::text[])"


AREAS_CHOSEN: Final = f"""SELECT area_tree.area_id
    FROM area_tree JOIN area ON area.area_id = area_tree.above_id WHERE {chosen("area.key", "area")}"""
"""The chosen areas and those below them; wants AREA_TREE."""

SCOPE_OF_AREAS: Final = f"""SELECT area.name AS scope, plant.meter_id
    FROM area_tree JOIN area ON area.area_id = area_tree.above_id JOIN plant ON plant.area_id = area_tree.area_id
    WHERE measures_energy AND {chosen("area.key", "area")}"""


def with_ctes(*ctes: str) -> str:
    """Return `WITH RECURSIVE` and the common table expressions."""
    return "WITH RECURSIVE " + ",\n".join(ctes)


def scoped(members: str) -> tuple[str, ...]:
    """Return the expressions that end in `top`, `generator` and `part` for the scopes that `members` selects.

    members    SELECT of (scope, meter_id), energy meters only, from `plant`
    top        (scope, meter_id): the members that have no other member of their scope upstream
    generator  (scope, meter_id): the PV meters in the scope or below its top meters, none above another
    part       both, with role 'net' or 'generation': consumption is the net energy of the first and the yield of the
               second (CONSUMED_KWH)
    """
    return (
        PLANT,
        UPSTREAM,
        f"member AS (\n    {members}\n)",
        """top AS (
    SELECT scope, meter_id FROM member
    WHERE NOT EXISTS (
        SELECT FROM upstream JOIN member AS other ON other.meter_id = upstream.above_id
        WHERE upstream.meter_id = member.meter_id AND other.scope = member.scope)
)""",
        """generating AS (
    SELECT scope, meter_id FROM member JOIN plant USING (meter_id) WHERE kind = 'pv_inverter'
    UNION
    SELECT top.scope, plant.meter_id
    FROM top JOIN upstream ON upstream.above_id = top.meter_id JOIN plant ON plant.meter_id = upstream.meter_id
    WHERE plant.kind = 'pv_inverter' AND plant.measures_energy
)""",
        """generator AS (
    SELECT scope, meter_id FROM generating
    WHERE NOT EXISTS (
        SELECT FROM upstream JOIN generating AS other ON other.meter_id = upstream.above_id
        WHERE upstream.meter_id = generating.meter_id AND other.scope = generating.scope)
)""",
        """part AS (
    SELECT scope, meter_id, 'net' AS role FROM top
    UNION ALL
    SELECT scope, meter_id, 'generation' FROM generator
)""",
    )


def coverage_percent(meters: str) -> str:
    """Return the measured share of today in percent, from 15-minute rows; `meters` says how many meters there are."""
    return (
        "100 * least(1.0, sum(coverage::float8) * 900"
        f" / nullif({meters} * extract(epoch FROM max(today.until) - max(today.began)), 0))"
    )


def latest(quantity: str, meter: str, *, at_most: str = "2 minutes") -> str:
    """Return the FROM item `last` with the latest value of a quantity of a meter; NULL when it is older than that."""
    return f"""LEFT JOIN LATERAL (
    SELECT {quantity} AS value FROM reading
    WHERE reading.meter_id = {meter} AND {quantity} IS NOT NULL
      AND time > {NOW} - interval '{at_most}' AND time <= {NOW}
    ORDER BY time DESC LIMIT 1
) AS last ON true"""


def power_by_meter(meters: str) -> str:
    """Return the expression `power` (time, meter_id, power_kw): mean power of some meters in each shown interval [kW].

    It is read from minutes, and from quarter hours where those are fine enough. `meters` selects meter_id.
    """
    of_meters = f"$__timeFilter(bucket) AND meter_id IN ({meters})"
    return f"""power AS (
    SELECT $__timeGroupAlias(bucket, $__interval, NULL), meter_id, avg(power_avg_kw) AS power_kw
    FROM (
        SELECT bucket, meter_id, power_avg_kw FROM interval_1m WHERE $__interval_ms < 900000 AND {of_meters}
        UNION ALL
        SELECT bucket, meter_id, power_avg_kw FROM interval_15m WHERE $__interval_ms >= 900000 AND {of_meters}
    ) AS shown
    GROUP BY 1, 2
)"""


def raw_by_asset(kind: str, values: Mapping[str, str]) -> str:
    """Return a time series of means of raw quantities for the chosen assets of a kind.

    values  name of a series -> SQL of its value over columns of `reading`; the series is called by its asset and that
            name, by the asset alone when the name is empty
    """
    means = ", ".join(f"avg({value}) AS value_{place}" for place, value in enumerate(values.values()))
    series = ", ".join(f"('{name}', value_{place})" for place, name in enumerate(values))
    return f"""{with_ctes(PLANT)}
SELECT time, trim(asset_name || ' ' || series) AS metric, value
FROM (
    SELECT $__timeGroupAlias(reading.time, $__interval, NULL), asset_name, {means}
    FROM reading JOIN plant USING (meter_id)
    WHERE $__timeFilter(reading.time) AND kind = '{kind}' AND {chosen("asset_key", "asset")}
    GROUP BY 1, 2
) AS mean
CROSS JOIN LATERAL (VALUES {series}) AS shown (series, value)
WHERE value IS NOT NULL
ORDER BY 1, 2"""
