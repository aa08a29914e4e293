"""Tariff cost: what energy costs by time-of-use period, day and area, and the prices behind it."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from . import variables
from .house import build_dashboard
from .panels import Column, Panel, bars, number, records, series
from .sql import AREA_TREE, CONSUMED_KWH, NOW, SCOPE_OF_AREAS, SCOPE_OF_SITE, TODAY, scoped, with_ctes
from .units import COVERAGE, KWH, MONEY, MONEY_PER_KWH, NO_UNIT, PERCENT, TIME

__all__ = ["build"]

PRICE: Final = """LEFT JOIN LATERAL (
    SELECT period, price_per_kwh, levy_per_kwh, feed_in_per_kwh FROM tariff_price
    WHERE tariff_price.site_id::text = ${site:sqlstring} AND from_time <= bucket AND to_time > bucket
    ORDER BY from_time DESC LIMIT 1
) AS price ON true"""
"""The price that held when `bucket` began."""

_BASIS: Final = (
    "Energy drawn from the grid at the site's top meters, each quarter hour at the price of its local time. Without"
    " levies, demand charge and tax, which the API's bill has."
)
_PARTS: Final = (
    "Consumption (net energy of the top meters plus PV), each quarter hour at the price of its local time, as if all of"
    " it came from the grid. The demand charge is not shared out."
)
_TODAY_BEGAN: Final = "(SELECT began FROM today)"
_MONTH_BEGAN: Final = f"(SELECT date_trunc('month', {NOW} AT TIME ZONE time_zone) AT TIME ZONE time_zone FROM today)"
_RANGE_BEGAN: Final = "$__timeFrom()::timestamptz"


def _site(since: str) -> str:
    """The expressions that end in `priced`: quarter hours of the site with their price, from an instant on."""
    return with_ctes(
        *scoped(SCOPE_OF_SITE),
        TODAY,
        f"""energy AS (
    SELECT bucket, sum(energy_import_kwh) AS drawn_kwh, sum(energy_export_kwh) AS given_kwh,
           100 * sum(coverage::float8) / (SELECT count(*) FROM top) AS coverage_percent
    FROM top JOIN interval_15m USING (meter_id) WHERE bucket >= {since} AND bucket < {NOW}
    GROUP BY bucket
)""",
        f"""priced AS (
    SELECT energy.*, period, price_per_kwh, drawn_kwh * price_per_kwh AS cost, drawn_kwh * levy_per_kwh AS levies,
           given_kwh * feed_in_per_kwh AS credit
    FROM energy {PRICE}
)""",
    )


def _numbers() -> list[Panel]:
    shown = _site(_RANGE_BEGAN)
    return [
        number(
            "Cost today",
            f"{_BASIS} Since midnight of the site.",
            f"{_site(_TODAY_BEGAN)}\nSELECT sum(cost) AS cost FROM priced",
            MONEY,
            decimals=0,
        ),
        number(
            "Cost this month",
            f"{_BASIS} Since the local month began.",
            f"{_site(_MONTH_BEGAN)}\nSELECT sum(cost) AS cost FROM priced",
            MONEY,
            decimals=0,
        ),
        number(
            "Mean price",
            "Cost over energy of what was drawn in the shown range: lower than the plain mean of the prices when energy"
            " is used in cheap hours.",
            f"""{shown}
SELECT sum(cost) / nullif(sum(drawn_kwh) FILTER (WHERE cost IS NOT NULL), 0) AS price FROM priced""",
            MONEY_PER_KWH,
            decimals=4,
        ),
        number(
            "Levies",
            "On the energy drawn in the shown range, at what the tariff says of them; no power factor changes them.",
            f"{shown}\nSELECT sum(levies) AS levies FROM priced",
            MONEY,
            decimals=0,
        ),
        number(
            "Energy with a price",
            "Share of the energy drawn in the shown range for which a price is known; the rest has no cost, which is"
            " not a cost of 0.",
            f"""{shown}
SELECT 100 * sum(drawn_kwh) FILTER (WHERE cost IS NOT NULL) / nullif(sum(drawn_kwh), 0) AS priced_percent
FROM priced""",
            PERCENT,
            steps=COVERAGE,
            decimals=1,
        ),
        number(
            "Coverage",
            "Share of the time with 15-minute rows in the shown range for which the top meters have measurements no"
            " farther apart than their max_gap_s.",
            f"{shown}\nSELECT avg(coverage_percent) AS coverage_percent FROM priced",
            PERCENT,
            steps=COVERAGE,
            decimals=1,
        ),
    ]


def _over_time() -> list[Panel]:
    shown = _site(_RANGE_BEGAN)
    return [
        series(
            "Cost per hour by period",
            f"{_BASIS} The running hour is incomplete.",
            f"""{shown}
SELECT $__timeGroupAlias(bucket, '1h', NULL), period AS metric, sum(cost) AS value
FROM priced WHERE period IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2""",
            MONEY,
            min_interval="1h",
            as_bars=True,
            stacked=True,
        ),
        series(
            "Price over time",
            "Price of a kilowatt-hour that the grid delivers, by its local time, as it changes over the shown range.",
            f"""{shown}
SELECT $__timeGroupAlias(bucket, $__interval, NULL), avg(price_per_kwh) AS "Price" FROM priced GROUP BY 1 ORDER BY 1""",
            MONEY_PER_KWH,
            min_interval="15m",
            decimals=4,
        ),
        series(
            "Energy per hour by period",
            "Energy drawn from the grid at the top meters by time-of-use period; the running hour is incomplete.",
            f"""{shown}
SELECT $__timeGroupAlias(bucket, '1h', NULL), coalesce(period, 'no price') AS metric, sum(drawn_kwh) AS value
FROM priced
GROUP BY 1, 2
ORDER BY 1, 2""",
            KWH,
            min_interval="1h",
            as_bars=True,
            stacked=True,
        ),
        series(
            "Cost per day by period",
            f"{_BASIS} By local day of the site; the running day is incomplete.",
            f"""{shown}
SELECT date_trunc('day', bucket AT TIME ZONE time_zone) AT TIME ZONE time_zone AS time, period AS metric,
       sum(cost) AS value
FROM priced CROSS JOIN today WHERE period IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2""",
            MONEY,
            min_interval="1d",
            as_bars=True,
            stacked=True,
        ),
    ]


def _periods() -> list[Panel]:
    return [
        records(
            "By time-of-use period",
            f"{_BASIS} In the shown range, with the mean price and the share of each period.",
            f"""{_site(_RANGE_BEGAN)}
SELECT coalesce(period, 'no price') AS "Period", sum(drawn_kwh) AS "Energy",
       sum(cost) / nullif(sum(drawn_kwh), 0) AS "Price", sum(cost) AS "Cost",
       100 * sum(cost) / nullif(sum(sum(cost)) OVER (), 0) AS "Share"
FROM priced
GROUP BY period
ORDER BY 4 DESC NULLS LAST""",
            {
                "Energy": Column(KWH, decimals=1, width=130),
                "Price": Column(MONEY_PER_KWH, decimals=4, width=130),
                "Cost": Column(MONEY, decimals=2, bar=True),
                "Share": Column(PERCENT, decimals=1, width=100),
            },
        ),
        bars(
            "Cost by area",
            f"{_PARTS} An area holds those below it, so bars of a building and its rooms do not add up. The tooltip"
            " shows the energy.",
            f"""{with_ctes(AREA_TREE, *scoped(SCOPE_OF_AREAS))},
energy AS (
    SELECT scope, bucket, sum({CONSUMED_KWH}) AS consumed_kwh
    FROM part JOIN interval_15m USING (meter_id) WHERE $__timeFilter(bucket)
    GROUP BY scope, bucket
)
SELECT scope AS "Area", sum(consumed_kwh * price_per_kwh) AS "Cost", sum(consumed_kwh) AS "Energy"
FROM energy {PRICE}
GROUP BY scope
ORDER BY 2 DESC NULLS LAST""",
            MONEY,
            beside={"Energy": KWH},
        ),
    ]


def _tariffs() -> list[Panel]:
    return [
        records(
            "Tariffs",
            "Every version of the contract in the plant's description, and what it charges by the month.",
            """SELECT key AS "Tariff", name AS "Name", currency AS "Currency", valid_from AS "Valid from",
       valid_to AS "Valid to", demand_basis AS "Demand charge for", demand_price_per_month AS "Per kW or kVA and month",
       (SELECT string_agg('above ' || 100 * above || ' %: x ' || factor, ', ' ORDER BY above)
        FROM unnest(demand_excess_above, demand_excess_factor) AS band (above, factor)) AS "Above the contract",
       fixed_per_month AS "Fixed per month", tax_percent AS "Tax", source AS "Source"
FROM tariff WHERE site_id::text = ${site:sqlstring}
ORDER BY valid_from DESC""",
            {
                "Currency": Column(width=90),
                "Valid from": Column(TIME, width=170),
                "Valid to": Column(TIME, width=170),
                "Per kW or kVA and month": Column(NO_UNIT, decimals=2, width=200),
                "Above the contract": Column(width=200),
                "Fixed per month": Column(NO_UNIT, decimals=2, width=130),
                "Tax": Column(PERCENT, decimals=1, width=80),
            },
            width=16,
            height=6,
        ),
        records(
            "Prices of the day",
            "Periods and prices of the local day in which the shown range ends, as the contract has them.",
            f"""{with_ctes(TODAY)}
SELECT to_char(greatest(from_time, began) AT TIME ZONE time_zone, 'HH24:MI') AS "From",
       to_char(to_time AT TIME ZONE time_zone, 'HH24:MI') AS "To", period AS "Period", price_per_kwh AS "Price"
FROM tariff_price CROSS JOIN today
WHERE site_id::text = ${{site:sqlstring}} AND to_time > began
  AND from_time < (date_trunc('day', {NOW} AT TIME ZONE time_zone) + interval '1 day') AT TIME ZONE time_zone
ORDER BY from_time""",
            {
                "From": Column(width=80),
                "To": Column(width=80),
                "Period": Column(width=110),
                "Price": Column(MONEY_PER_KWH, decimals=4, bar=True),
            },
            width=8,
            height=6,
        ),
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    return build_dashboard(
        "emsd-tariff",
        "Tariff cost",
        "What energy costs by time-of-use period, day and area, in the tariff's currency, and the prices behind it.",
        [variables.site(), variables.areas()],
        {
            "Cost": _numbers(),
            "Over time": _over_time(),
            "Where it goes": _periods(),
            "Prices": _tariffs(),
        },
        since="now-7d",
    )
