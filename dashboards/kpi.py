"""Key figures of equipment: of the shown range and of each day, with coverage, inputs and what is missing."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from . import variables
from .house import build_dashboard
from .kpi_sql import KPIS, NAMES, figures
from .panels import Column, Panel, bars, records, series
from .sql import chosen
from .units import COUNT, COVERAGE, KWH_PER_KWP, NO_UNIT, PERCENT, SPECIFIC_POWER, W_PER_M2, Steps

__all__ = ["build"]

_KINDS: Final = (
    "incomer",
    "cleanroom",
    "compressor",
    "chiller",
    "pv_inverter",
    "process_tool",
    "pump",
    "lighting",
    "feeder",
    "other",
)
_RULE: Final = (
    "A figure is a ratio of sums over the quarter hours in which every input is measured for at least half of the time."
)


def _range() -> list[Panel]:
    return [
        records(
            "Key figures of the shown range",
            f"{_RULE} Coverage is the share of the shown range that the figure stands for: by night a PV plant has"
            " none, and leaks are estimated in idle times only. Reference is the rating or target of the plant file.",
            f"""{figures("true")}
SELECT machine.name AS "Asset", title AS "Key figure", figure.value AS "Value", unit AS "Unit",
       100 * quarters * 900 / extract(epoch FROM $__timeTo()::timestamptz - $__timeFrom()::timestamptz) AS "Coverage",
       reference.value AS "Reference", 100 * figure.value / nullif(reference.value, 0) AS "Of reference"
FROM figure JOIN machine USING (asset_id) JOIN {NAMES} USING (kpi)
LEFT JOIN kpi_fact AS reference
    ON reference.asset_id = figure.asset_id AND reference.kind = 'reference' AND reference.name = kpi
WHERE figure.value IS NOT NULL
ORDER BY machine.kind, 1, 2""",
            {
                "Value": Column(NO_UNIT, decimals=3, width=110),
                "Unit": Column(width=120),
                "Coverage": Column(PERCENT, decimals=1, width=100, steps=COVERAGE),
                "Reference": Column(NO_UNIT, decimals=3, width=110),
                "Of reference": Column(PERCENT, decimals=1, width=110),
            },
            width=16,
            height=14,
        ),
        bars(
            "Chosen key figure by asset",
            f"The figure chosen above, of each asset that has it. {_RULE} The tooltip shows how many quarter hours it"
            " is made of.",
            f"""{figures("true")}
SELECT machine.name AS "Asset", figure.value AS "Value", quarters AS "Quarter hours"
FROM figure JOIN machine USING (asset_id)
WHERE figure.kpi = ${{kpi:sqlstring}} AND figure.value IS NOT NULL
ORDER BY 2 DESC""",
            NO_UNIT,
            beside={"Quarter hours": COUNT},
            width=8,
        ),
    ]


_DAY: Final = """(
        SELECT date_trunc('day', known.bucket AT TIME ZONE time_zone) AT TIME ZONE time_zone
        FROM site WHERE site_id::text = ${site:sqlstring})"""


def _daily(title: str, about: str, condition: str, unit: str, *, steps: Steps = (), width: int = 12) -> Panel:
    return series(
        title,
        f"{about} Per local day of the site. {_RULE} The running day is made of what is known so far.",
        f"""{figures(_DAY)}
SELECT period AS time, machine.name AS metric, figure.value
FROM figure JOIN machine USING (asset_id)
WHERE {condition} AND figure.value IS NOT NULL
ORDER BY 1, 2""",
        unit,
        min_interval="1d",
        as_bars=True,
        decimals=2,
        steps=steps,
        width=width,
    )


def _days() -> list[Panel]:
    return [
        _daily(
            "Chosen key figure per day",
            "The figure chosen above.",
            "figure.kpi = ${kpi:sqlstring}",
            NO_UNIT,
            width=24,
        ),
        _daily(
            "Coefficient of performance of chillers",
            "Cold delivered over electricity, while the machine runs.",
            "figure.kpi = 'chiller_cop'",
            NO_UNIT,
        ),
        _daily(
            "Specific power of compressors",
            "Electricity over air delivered, at 0 degC and 1.01325 bar; 6.0 to 7.8 is common for screw packages.",
            "figure.kpi = 'compressor_specific_power'",
            SPECIFIC_POWER,
        ),
        _daily(
            "Performance ratio of PV",
            "Yield over what the modules would have given at the irradiation measured (IEC 61724-1).",
            "figure.kpi = 'pv_performance_ratio'",
            NO_UNIT,
        ),
        _daily(
            "Specific yield of PV",
            "Yield over peak power; what was spread over gaps counts too.",
            "figure.kpi = 'pv_specific_yield'",
            KWH_PER_KWP,
        ),
        _daily(
            "Power per floor area of cleanrooms",
            "Mean power over the floor area of the asset's area.",
            "figure.kpi = 'cleanroom_power_density'",
            W_PER_M2,
        ),
    ]


def _basis() -> list[Panel]:
    return [
        records(
            "What the figures are made of",
            "Inputs of the chosen assets: which quantity of which meter, and how it becomes the input.",
            f"""SELECT asset.name AS "Asset", input AS "Input", method AS "Aggregate", meter.name AS "Meter",
       quantity AS "Quantity"
FROM kpi_source JOIN asset USING (asset_id) JOIN meter USING (meter_id)
WHERE asset.site_id::text = ${{site:sqlstring}} AND asset.removed_at IS NULL AND {chosen("asset.key", "asset")}
ORDER BY 1, 2, part""",
            {"Aggregate": Column(width=130)},
            width=12,
            height=10,
        ),
        records(
            "What is missing",
            "Inputs that the meters of the chosen assets do not give, so that the figures made of them have no value.",
            f"""SELECT asset.name AS "Asset", input AS "Input", reason AS "Reason"
FROM kpi_gap JOIN asset USING (asset_id)
WHERE asset.site_id::text = ${{site:sqlstring}} AND asset.removed_at IS NULL AND {chosen("asset.key", "asset")}
ORDER BY 1, 2""",
            {"Asset": Column(width=160), "Input": Column(width=180)},
            width=12,
            height=10,
        ),
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    kpis = ", ".join(f"('{title}', '{name}', {place})" for place, (name, (title, _, _)) in enumerate(KPIS.items()))
    return build_dashboard(
        "emsd-kpi",
        "Equipment key figures",
        "What machines make of their energy over the shown range and day by day, with coverage, inputs and gaps.",
        [
            variables.site(),
            variables.assets(_KINDS),
            variables.one(
                "kpi",
                "Key figure",
                "The figure that machines are compared by.",
                f"SELECT title AS __text, kpi AS __value FROM (VALUES {kpis}) AS known (title, kpi, place)"
                " ORDER BY kpi <> 'power_factor', place",
            ),
        ],
        {"Shown range": _range(), "Days": _days(), "Behind the figures": _basis()},
        since="now-7d",
    )
