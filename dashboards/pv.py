"""PV: what the inverters give, from what sun."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from . import variables
from .common import RUN_STATES, TODAY_WORDS, power_now, power_over_time
from .house import build_dashboard
from .panels import Column, Panel, number, records, series, states
from .sql import OF_TODAY, PLANT, TODAY, chosen, coverage_percent, latest, raw_by_asset, with_ctes
from .units import CELSIUS, COVERAGE, IRRADIANCE, KW, KWH, KWH_PER_KWP, PERCENT, VOLT

__all__ = ["build"]

_CHOSEN: Final = f"kind = 'pv_inverter' AND {chosen('asset_key', 'asset')}"
_TOGETHER: Final = f"SELECT 'pv' AS scope, meter_id FROM plant WHERE measures_energy AND {_CHOSEN}"
_EACH: Final = f"SELECT asset_name AS scope, meter_id FROM plant WHERE measures_energy AND {_CHOSEN}"
_ROWS: Final = f"""FROM plant JOIN interval_15m USING (meter_id) CROSS JOIN today
WHERE measures_energy AND {_CHOSEN} AND {OF_TODAY}"""
_METERS: Final = f"(SELECT count(*) FROM plant WHERE measures_energy AND {_CHOSEN})"
_RATED: Final = (
    f"(SELECT sum(rated_power_kw) FROM (SELECT DISTINCT asset_key, rated_power_kw FROM plant WHERE {_CHOSEN}) AS rated)"
)
_PEAK: Final = "Rated power is that of the asset in the plant file; enter the kWp of its modules there."


def _numbers() -> list[Panel]:
    begin = with_ctes(PLANT, TODAY)
    return [
        power_now(_TOGETHER, "What the chosen inverters give, positive.", sign="0 - "),
        number(
            "Irradiance",
            "Mean of the site's pyranometers, latest values, none older than 2 minutes.",
            f"""{with_ctes(PLANT)}
SELECT avg(last.value) AS irradiance_w_m2 FROM plant {latest("irradiance_w_m2", "plant.meter_id")}""",
            IRRADIANCE,
            decimals=0,
        ),
        number(
            "Yield today",
            f"Energy given by the chosen inverters (their export). {TODAY_WORDS}",
            f"{begin}\nSELECT sum(energy_export_kwh) AS yield_kwh\n{_ROWS}",
            KWH,
        ),
        number(
            "Coverage today",
            "Share of today's time for which the chosen inverters have measurements no farther apart than their"
            " max_gap_s."
            " Inverters that sleep at night lower it without losing energy.",
            f"{begin}\nSELECT {coverage_percent(_METERS)} AS coverage_percent\n{_ROWS}",
            PERCENT,
            steps=COVERAGE,
            decimals=1,
        ),
        number(
            "Specific yield today",
            f"Yield today over rated power. {_PEAK} {TODAY_WORDS}",
            f"{begin}\nSELECT sum(energy_export_kwh) / nullif({_RATED}, 0) AS kwh_per_kwp\n{_ROWS}",
            KWH_PER_KWP,
            decimals=2,
        ),
        number(
            "Highest power today",
            "Highest mean power of the chosen inverters together in a quarter hour of today.",
            f"""{begin}
SELECT max(power_kw) AS power_kw FROM (SELECT 0 - sum(power_avg_kw) AS power_kw {_ROWS} GROUP BY bucket) AS quarter""",
            KW,
        ),
    ]


def _power() -> list[Panel]:
    return [
        power_over_time("AC power", "What each chosen inverter gives, positive.", _EACH, sign="0 - "),
        series(
            "Irradiance",
            "Irradiance in the plane of each pyranometer of the site. Mean per interval, from raw readings.",
            f"""{with_ctes(PLANT)}
SELECT $__timeGroupAlias(reading.time, $__interval, NULL), name AS metric, avg(irradiance_w_m2) AS value
FROM reading JOIN plant USING (meter_id)
WHERE $__timeFilter(reading.time) AND irradiance_w_m2 IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2""",
            IRRADIANCE,
            min_interval="30s",
            minimum=0.0,
        ),
        series(
            "DC power",
            "DC power of each chosen inverter. Mean per interval, from raw readings.",
            raw_by_asset("pv_inverter", {"": "dc_power_kw"}),
            KW,
            min_interval="30s",
            minimum=0.0,
            width=8,
        ),
        series(
            "DC voltage",
            "DC voltage of each chosen inverter. Mean per interval, from raw readings.",
            raw_by_asset("pv_inverter", {"": "dc_voltage_v"}),
            VOLT,
            min_interval="30s",
            width=8,
        ),
        series(
            "Cabinet temperature",
            "Temperature inside each chosen inverter; inverters throttle when they get hot. Mean per interval, from raw"
            " readings.",
            raw_by_asset("pv_inverter", {"": "cabinet_temperature_c"}),
            CELSIUS,
            min_interval="30s",
            width=8,
        ),
    ]


def _yield() -> list[Panel]:
    return [
        series(
            "Yield per hour",
            "Energy given by each chosen inverter, from 15-minute intervals; the running hour is incomplete.",
            f"""{with_ctes(PLANT)}
SELECT $__timeGroupAlias(bucket, '1h', NULL), asset_name AS metric, sum(energy_export_kwh) AS value
FROM plant JOIN interval_15m USING (meter_id)
WHERE $__timeFilter(bucket) AND {_CHOSEN}
GROUP BY 1, 2
ORDER BY 1, 2""",
            KWH,
            min_interval="1h",
            as_bars=True,
            stacked=True,
        ),
        records(
            "Inverters today",
            f"Yield, specific yield, coverage and highest power of each chosen inverter. {_PEAK} {TODAY_WORDS}",
            f"""{with_ctes(PLANT, TODAY)}
SELECT asset_name AS "Inverter", sum(energy_export_kwh) AS "Yield",
       sum(energy_export_kwh) / nullif(max(rated_power_kw), 0) AS "Specific yield",
       {coverage_percent("count(DISTINCT meter_id)")} AS "Coverage",
       sum(estimated_export_kwh) AS "Estimated", 0 - min(power_min_kw) AS "Highest power"
{_ROWS}
GROUP BY asset_key, asset_name
ORDER BY 1""",
            {
                "Yield": Column(KWH, decimals=1, bar=True),
                "Specific yield": Column(KWH_PER_KWP, decimals=2),
                "Coverage": Column(PERCENT, decimals=1, width=100, steps=COVERAGE),
                "Estimated": Column(KWH, decimals=1, width=110),
                "Highest power": Column(KW, decimals=1, width=120),
            },
        ),
        states(
            "State",
            "What each inverter says of itself; the latest state of each interval.",
            f"""{with_ctes(PLANT)}
SELECT $__timeGroupAlias(reading.time, $__interval, NULL), asset_name AS metric,
       last(run_state, reading.time)::float8 AS value
FROM reading JOIN plant USING (meter_id)
WHERE $__timeFilter(reading.time) AND run_state IS NOT NULL AND {_CHOSEN}
GROUP BY 1, 2
ORDER BY 1, 2""",
            RUN_STATES,
            width=24,
        ),
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    return build_dashboard(
        "emsd-pv",
        "PV",
        "Power, yield and state of the PV inverters, and the sun they had.",
        [variables.site(), variables.assets(["pv_inverter"])],
        {"Now and today": _numbers(), "Power": _power(), "Yield and state": _yield()},
    )
