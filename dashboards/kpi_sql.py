"""Key figures of equipment in SQL, as emsd.energy.kpi computes them; a test holds the two together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .sql import chosen, with_ctes

__all__ = ["KPIS", "NAMES", "figures"]

_TRUSTED: Final = 0.5
_STORED: Final = (
    "cooling_kwh",
    "air_nm3",
    "loaded_h",
    "running_h",
    "irradiation_kwh_m2",
    "irradiation_t25_kwh_m2",
    "reactive_kvarh",
    "pieces",
    "good_pieces",
)
"""Amounts of table asset_15m; what is known of a quarter hour stands for all of it."""


def _amount(name: str) -> str:
    known = f"{name}_coverage >= {_TRUSTED}"
    return f"CASE WHEN {known} THEN {name} / {name}_coverage END AS {name}"


# The measured part of the energy over its coverage: the whole quarter hour at its mean power. An asset with several
# feeders has a figure while all of them are known.
_ENERGY: Final = f"""energy AS (
    SELECT asset_id, bucket,
           CASE WHEN min(coverage) >= {_TRUSTED} AND count(energy_kwh) = max(feeders) THEN sum(energy_kwh) END
               AS energy_kwh,
           CASE WHEN min(coverage) >= {_TRUSTED} AND count(yield_kwh) = max(feeders) THEN sum(yield_kwh) END
               AS yield_kwh,
           sum(energy_export_kwh) AS counted_yield_kwh, min(coverage) AS energy_coverage
    FROM (
        SELECT feeder.asset_id, feeders, bucket, coverage, energy_export_kwh,
               coalesce(taken_kwh - coalesce(given_kwh, 0), -given_kwh) / nullif(coverage, 0) AS energy_kwh,
               given_kwh / nullif(coverage, 0) AS yield_kwh
        FROM (
            SELECT asset_id, meter_id, count(*) OVER (PARTITION BY asset_id) AS feeders
            FROM (SELECT DISTINCT asset_id, meter_id FROM kpi_source WHERE input IN ('energy_kwh', 'yield_kwh')
                    AND asset_id IN (SELECT asset_id FROM machine)) AS named
        ) AS feeder
        JOIN (
            SELECT meter_id, bucket, coverage, energy_export_kwh,
                   energy_import_kwh - estimated_import_kwh AS taken_kwh,
                   energy_export_kwh - estimated_export_kwh AS given_kwh
            FROM interval_15m WHERE $__timeFilter(bucket)
        ) AS measured USING (meter_id)
    ) AS fed
    GROUP BY asset_id, bucket
)"""
_MACHINE: Final = f"""machine AS (
    SELECT asset.asset_id, asset.key, asset.name, asset.kind,
           max(value) FILTER (WHERE kpi_fact.kind = 'fact' AND kpi_fact.name = 'floor_area_m2') AS floor_area_m2,
           max(value) FILTER (WHERE kpi_fact.kind = 'fact' AND kpi_fact.name = 'peak_power_kwp') AS peak_power_kwp,
           max(value) FILTER (WHERE kpi_fact.kind = 'fact' AND kpi_fact.name = 'standstill_kw') AS standstill_kw,
           coalesce(max(value) FILTER (WHERE kpi_fact.kind = 'fact' AND kpi_fact.name = 'hours_count_h'), 0)
               AS hours_count_h
    FROM asset LEFT JOIN kpi_fact USING (asset_id)
    WHERE asset.site_id::text = ${{site:sqlstring}} AND asset.removed_at IS NULL AND {chosen("asset.key", "asset")}
    GROUP BY asset.asset_id
)"""
_QUARTER: Final = f"""quarter AS (
    SELECT asset_id, bucket, {", ".join(_amount(name) for name in _STORED)},
           CASE WHEN voltage_unbalance_percent_coverage >= {_TRUSTED} THEN voltage_unbalance_percent END
               AS voltage_unbalance_percent,
           energy_kwh, yield_kwh, counted_yield_kwh
    FROM (SELECT * FROM asset_15m WHERE $__timeFilter(bucket) AND asset_id IN (SELECT asset_id FROM machine)) AS input
    FULL JOIN energy USING (asset_id, bucket)
)"""
_IDLE: Final = """idle AS (
    SELECT DISTINCT quarter.bucket
    FROM quarter CROSS JOIN site JOIN site_production USING (site_id)
    CROSS JOIN LATERAL jsonb_array_elements(idle_times) AS rest
    WHERE site_id::text = ${site:sqlstring}
      AND rest -> 'weekdays' ? lower(to_char(quarter.bucket AT TIME ZONE time_zone, 'dy'))
      AND to_char(quarter.bucket AT TIME ZONE time_zone, 'HH24:MI') >= rest ->> 'begin'
      AND to_char(quarter.bucket AT TIME ZONE time_zone, 'HH24:MI') < rest ->> 'end'
)"""


def _of_kind(kind: str, value: str, *, other: bool = False) -> str:
    """Return a value that only assets of a kind have, or all others."""
    return f"CASE WHEN max(kind) {'<>' if other else '='} '{kind}' THEN {value} END"


def _ratio(numerator: str, denominator: str, scale: str = "1", condition: str = "true") -> tuple[str, str]:
    """Return a ratio of sums and how many quarter hours it is made of: those in which both are known."""
    both = f"FILTER (WHERE {numerator} IS NOT NULL AND {denominator} IS NOT NULL AND {condition})"
    return f"{scale} * sum({numerator}) {both} / nullif(greatest(sum({denominator}) {both}, 0), 0)", f"count(*) {both}"


def _running(numerator: str, denominator: str, scale: str = "1") -> tuple[str, str]:
    """The same without the quarter hours in which the machine stands still."""
    return _ratio(numerator, denominator, scale, "(standstill_kw IS NULL OR energy_kwh >= 0.25 * standstill_kw)")


def _load_ratio() -> tuple[str, str]:
    value, quarters = _ratio("loaded_h", "running_h", "100")
    # Counters of whole hours say nothing of a short time.
    return f"CASE WHEN sum(running_h) >= 10 * max(hours_count_h) THEN {value} END", quarters


def _leak() -> tuple[str, str]:
    resting = "FILTER (WHERE idle AND loaded_h IS NOT NULL)"
    quarters = f"count(*) {resting}"
    # A machine that never was under load tells nothing of leaks.
    value = f"100 * nullif(sum(loaded_h) {resting}, 0) / nullif(0.25 * {quarters}, 0)"
    return f"CASE WHEN 0.25 * {quarters} >= 10 * max(hours_count_h) THEN {value} END", quarters


def _sun(irradiation: str) -> tuple[str, str]:
    return _ratio("yield_kwh", f"{irradiation} * peak_power_kwp", condition="irradiation_kwh_m2 >= 0.005")


def _power_factor() -> tuple[str, str]:
    both = "FILTER (WHERE energy_kwh IS NOT NULL AND reactive_kvarh IS NOT NULL)"
    kwh, kvarh = f"sum(energy_kwh) {both}", f"sum(reactive_kvarh) {both}"
    return f"abs({kwh}) / nullif(sqrt({kwh} ^ 2 + {kvarh} ^ 2), 0)", f"count(*) {both}"


KPIS: Final[Mapping[str, tuple[str, str, tuple[str, str]]]] = {
    "chiller_cop": ("Coefficient of performance", "", _running("cooling_kwh", "energy_kwh")),
    "chiller_kw_per_rt": (
        "Electricity per ton of refrigeration",
        "kW/RT",
        _running("energy_kwh", "cooling_kwh", "3.516853"),
    ),
    "compressor_specific_power": ("Specific power", "kW/(Nm3/min)", _running("energy_kwh", "air_nm3", "60")),
    "compressor_load_ratio": ("Load ratio", "%", _load_ratio()),
    "compressor_leak": ("Leak estimate", "%", _leak()),
    "cleanroom_power_density": (
        "Power per floor area",
        "W/m2",
        (
            _of_kind("cleanroom", "1000 * sum(energy_kwh) / nullif(count(energy_kwh) * 0.25 * max(floor_area_m2), 0)"),
            "count(energy_kwh)",
        ),
    ),
    "pv_performance_ratio": ("Performance ratio", "", _sun("irradiation_kwh_m2")),
    "pv_performance_ratio_t25": ("Performance ratio at 25 degC", "", _sun("irradiation_t25_kwh_m2")),
    "pv_specific_yield": (
        "Specific yield",
        "kWh/kWp",
        (
            _of_kind("pv_inverter", "sum(counted_yield_kwh) / max(peak_power_kwp)"),
            "count(counted_yield_kwh)",
        ),
    ),
    "energy_per_piece": ("Energy per piece", "kWh", _ratio("energy_kwh", "pieces")),
    "piece_yield": ("Yield", "%", _ratio("good_pieces", "pieces", "100")),
    "power_factor": ("Power factor", "", _power_factor()),
    "voltage_unbalance": (
        "Voltage unbalance",
        "%",
        (
            "percentile_cont(0.95) WITHIN GROUP (ORDER BY voltage_unbalance_percent)",
            "count(voltage_unbalance_percent)",
        ),
    ),
    "load_factor": (
        "Load factor",
        "%",
        (
            _of_kind("pv_inverter", "100 * avg(energy_kwh) / nullif(greatest(max(energy_kwh), 0), 0)", other=True),
            "count(energy_kwh)",
        ),
    ),
}
"""Key figure -> title, unit, and the SQL of its value and of its quarter hours; as emsd.energy.kpi.definitions."""

NAMES: Final = "(VALUES {}) AS named (kpi, title, unit)".format(
    ", ".join(f"('{name}', '{title}', '{unit}')" for name, (title, unit, _) in KPIS.items())
)


def figures(period: str) -> str:
    """The expressions that end in `figure` (asset_id, period, kpi, value, quarters); `period` is SQL over bucket."""
    columns = ",\n               ".join(
        f"{value} AS value_{place}, {quarters} AS quarters_{place}"
        for place, (_, _, (value, quarters)) in enumerate(KPIS.values())
    )
    rows = ", ".join(f"('{name}', value_{place}, quarters_{place})" for place, name in enumerate(KPIS))
    return with_ctes(
        _MACHINE,
        _ENERGY,
        _QUARTER,
        _IDLE,
        f"""whole AS (
    SELECT asset_id, {period} AS period,
               {columns}
    FROM (SELECT quarter.*, idle.bucket IS NOT NULL AS idle FROM quarter LEFT JOIN idle USING (bucket)) AS known
    JOIN machine USING (asset_id)
    GROUP BY 1, 2
)""",
        f"""figure AS (
    SELECT asset_id, period, shown.kpi, shown.value::float8 AS value, shown.quarters
    FROM whole CROSS JOIN LATERAL (VALUES {rows}) AS shown (kpi, value, quarters)
)""",
    )
