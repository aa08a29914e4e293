"""Carbon ledger: Scope 1 and 2 by both methods and month, certificates, activities, statements."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from . import variables
from .house import build_dashboard
from .panels import Column, Panel, number, records, series
from .units import COVERAGE, GREEN, KG, NO_UNIT, PERCENT, TIME

__all__ = ["build"]

_OF_SITE: Final = "site_id::text = ${site:sqlstring}"
_SHOWN: Final = f"{_OF_SITE} AND begins_at <= $__timeTo()::timestamptz AND ends_at > $__timeFrom()::timestamptz"
"""The local months that the shown range touches, whole."""
_MONTHS: Final = (
    "Local months that the shown range touches, each whole; certificates that were retired for a year are spread over"
    " its months."
)
_UNKNOWN: Final = "Blank: unknown, because nothing was measured, entered or has a factor."


def _sum(title: str, about: str, column: str, *, green: bool = False) -> Panel:
    sql = f"SELECT sum({column}) AS kg_co2e FROM carbon_month WHERE {_SHOWN}"
    words = f"{about} {_MONTHS} {_UNKNOWN}"
    if green:
        return number(title, words, sql, KG, steps=((None, GREEN),), width=3)
    return number(title, words, sql, KG)


def _numbers() -> list[Panel]:
    return [
        _sum("Scope 1", "Fuels, process gases and losses that were entered.", "scope1_kg"),
        _sum("Scope 2, location-based", "Energy from the grid x average factor of the grid.", "location_kg"),
        _sum(
            "Scope 2, market-based",
            "Certificates, then contracts, then the supplier's factor, then the residual mix (GHG Protocol).",
            "market_kg",
        ),
        _sum(
            "Avoided by own PV",
            "Own PV used on site and not sold x location-based factor: beside the inventory, never inside.",
            "avoided_kg",
            green=True,
        ),
        number(
            "Renewable coverage",
            f"(Own PV used and not sold + use covered by retired certificates) / load. {_MONTHS}",
            f"""SELECT 100 * sum(renewable_coverage * load_kwh) / nullif(sum(load_kwh), 0) AS renewable_percent
FROM carbon_month WHERE {_SHOWN}""",
            PERCENT,
            steps=((None, GREEN),),
            decimals=1,
            width=3,
        ),
        number(
            "Coverage",
            "Share of the time of these months for which the grid meters have measurements. A month is trusted from"
            " 90 % on.",
            f"""SELECT 100 * sum(coverage * extract(epoch FROM ends_at - begins_at)::float8)
       / nullif(sum(extract(epoch FROM ends_at - begins_at)::float8), 0) AS coverage_percent
FROM carbon_month WHERE {_SHOWN}""",
            PERCENT,
            steps=COVERAGE,
            decimals=1,
            width=3,
        ),
        number(
            "Estimated",
            "Share of the location-based emissions of these months whose energy was not measured: spread over gaps or"
            " estimated by like days. The table below names the months.",
            f"""SELECT 100 * sum(estimated_location_kg) / nullif(sum(location_kg), 0) AS estimated_percent
FROM carbon_month WHERE {_SHOWN}""",
            PERCENT,
            decimals=1,
            width=3,
        ),
    ]


def _months() -> list[Panel]:
    def stacked(title: str, about: str, column: str) -> Panel:
        return series(
            title,
            f"{about} {_UNKNOWN}",
            f"""SELECT begins_at AS time, scope1_kg AS "Scope 1", {column} AS "Scope 2"
FROM carbon_month WHERE {_SHOWN} ORDER BY 1""",
            KG,
            min_interval="1d",
            as_bars=True,
            stacked=True,
            width=12,
        )

    return [
        stacked("Scopes by month, location-based", "Emissions of each local month.", "location_kg"),
        stacked("Scopes by month, market-based", "Emissions of each local month.", "market_kg"),
        series(
            "Renewable coverage by month",
            "(Own PV used and not sold + use covered by retired certificates) / load, and the share of own PV alone.",
            f"""SELECT begins_at AS time, 100 * renewable_coverage AS "Renewable coverage",
       100 * self_sufficiency AS "Own PV"
FROM carbon_month WHERE {_SHOWN} ORDER BY 1""",
            PERCENT,
            min_interval="1d",
            as_bars=True,
            width=12,
        ),
        records(
            "What is missing",
            "What is not in the figures of a month, or not known well enough.",
            f"""SELECT to_char(month, 'YYYY-MM') AS "Month", sentence AS "Missing", computed_at AS "Computed"
FROM carbon_month CROSS JOIN LATERAL unnest(missing) AS sentence
WHERE {_SHOWN} ORDER BY month DESC""",
            {"Month": Column(width=90), "Computed": Column(TIME, width=170)},
            width=12,
        ),
    ]


def _certificates() -> list[Panel]:
    return [
        number(
            "Certificates left",
            "Energy of certificates that are valid at the end of the shown range and neither retired, sold nor"
            " cancelled [MWh].",
            f"""SELECT sum(left_mwh) AS left_mwh FROM carbon_instrument_stock
WHERE {_OF_SITE} AND level = 'certificate' AND valid_to > $__timeTo()::timestamptz""",
            NO_UNIT,
            decimals=0,
            width=4,
        ),
        records(
            "Certificates and contracts",
            "What there is, what was done with it and what is left [MWh]; each megawatt-hour can be used once.",
            f"""SELECT concat_ws(' to ', serial, last_serial) AS "Serial", kind AS "Kind",
       energy_source AS "Source", energy_mwh AS "MWh", retired_mwh AS "Retired", sold_mwh AS "Sold",
       cancelled_mwh AS "Cancelled", left_mwh AS "Left", valid_to AS "Valid until", registry AS "Registry"
FROM carbon_instrument_stock WHERE {_OF_SITE} AND NOT is_void ORDER BY valid_to DESC, serial""",
            {
                **{name: Column(decimals=1, width=90) for name in ("MWh", "Retired", "Sold", "Cancelled")},
                "Left": Column(decimals=1, width=90, bar=True),
                "Valid until": Column(TIME, width=170),
            },
            width=20,
        ),
    ]


def _entries() -> list[Panel]:
    return [
        records(
            "Activities",
            "Scope 1 as it was entered, with emissions by the site's set of global warming potentials, as computed"
            " then; the latest version of each reference, where its period touches the shown range.",
            f"""SELECT reference AS "Reference", substance AS "Substance", process AS "Process", amount AS "Amount",
       unit AS "Unit", period_from AS "From", period_to AS "To", area.name AS "Area",
       CASE gwp_set WHEN 'AR4' THEN kg_ar4 WHEN 'AR6' THEN kg_ar6 ELSE kg_ar5 END AS "CO2e",
       document AS "Document", author AS "Author"
FROM carbon_activity AS activity LEFT JOIN area USING (area_id)
LEFT JOIN carbon_settings ON carbon_settings.site_id = activity.site_id
WHERE activity.{_OF_SITE} AND NOT is_void
  AND period_from <= $__timeTo()::timestamptz AND period_to > $__timeFrom()::timestamptz
  AND NOT EXISTS (SELECT FROM carbon_activity AS later WHERE later.site_id = activity.site_id
      AND later.reference = activity.reference AND later.version > activity.version)
ORDER BY period_from DESC, reference""",
            {
                "From": Column(TIME, width=170),
                "To": Column(TIME, width=170),
                "CO2e": Column(KG, decimals=1, width=110),
            },
            width=24,
        ),
        records(
            "Statements",
            "What was frozen and signed. The figures are those of the signed document; `emsd carbon statement verify`"
            " checks them.",
            f"""SELECT statement_id AS "No.", period_from AS "From", period_to AS "To",
       (total ->> 'scope1_kg')::numeric AS "Scope 1", (total ->> 'location_kg')::numeric AS "Location-based",
       (total ->> 'market_kg')::numeric AS "Market-based", restates AS "Restates", author AS "Author",
       created_at AS "Made", sha256 AS "SHA-256"
FROM carbon_statement CROSS JOIN LATERAL (SELECT document::jsonb #> '{{results,total}}' AS total) AS figures
WHERE {_OF_SITE} ORDER BY statement_id DESC""",
            {
                **{name: Column(TIME, width=170) for name in ("From", "To", "Made")},
                **{name: Column(KG, decimals=1, width=120) for name in ("Scope 1", "Location-based", "Market-based")},
            },
            width=24,
            height=6,
        ),
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    return build_dashboard(
        "emsd-carbon-ledger",
        "Carbon ledger",
        "Scope 1 and 2 by both methods and month, certificates, activities and signed statements.",
        [variables.site()],
        {
            "Shown months": _numbers(),
            "By month": _months(),
            "Certificates and contracts": _certificates(),
            "Entered and stated": _entries(),
        },
        since="now-365d",
    )
