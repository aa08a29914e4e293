"""Compressed air: power from the feeders, pressure and hours from the controllers, flow from the flow meters."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from . import variables
from .common import RUN_STATES, asset_energy, energy_per_hour, power_now, power_over_time, today_numbers
from .house import build_dashboard
from .panels import Column, Panel, number, records, series, states
from .sql import NOW, PLANT, chosen, latest, power_by_meter, raw_by_asset, scoped, with_ctes
from .units import AMBER, BAR, CELSIUS, COUNT, GREEN, HOURS, NM3H, PERCENT, RED, SPECIFIC_POWER, TIME, Steps

__all__ = ["build"]

_CHOSEN: Final = f"measures_energy AND kind = 'compressor' AND {chosen('asset_key', 'asset')}"
_TOGETHER: Final = f"SELECT 'compressors' AS scope, meter_id FROM plant WHERE {_CHOSEN}"
_EACH: Final = f"SELECT asset_name AS scope, meter_id FROM plant WHERE {_CHOSEN}"
# Rotary screw packages need about 6.0 to 7.8 kW per Nm3/min at 7 bar gauge.
_SPECIFIC: Final[Steps] = ((None, GREEN), (7.8, AMBER), (9.0, RED))
_DERIVED: Final = "Nm3 is at 0 degC and 1.01325 bar."

_LATEST_FLOW: Final = f"""flow AS (
    SELECT CASE WHEN bool_and(last.value IS NOT NULL) THEN sum(last.value) END AS nm3h
    FROM (SELECT DISTINCT meter_id FROM reading JOIN plant USING (meter_id)
          WHERE time > {NOW} - interval '1 hour' AND time <= {NOW} AND air_flow_nm3h IS NOT NULL
            AND kind = 'compressor' AND {chosen("asset_key", "asset")}) AS meters
    {latest("air_flow_nm3h", "meters.meter_id")}
)"""


def _numbers() -> list[Panel]:
    flow = f"{with_ctes(PLANT, _LATEST_FLOW)}\nSELECT nm3h FROM flow"
    specific = f"""{with_ctes(*scoped(_TOGETHER), _LATEST_FLOW)}
SELECT CASE WHEN bool_and(last.value IS NOT NULL) THEN sum(last.value) / nullif(max(nm3h) / 60, 0) END AS specific_power
FROM top CROSS JOIN flow {latest("active_power_kw", "top.meter_id")}"""
    return [
        power_now(_TOGETHER, "Feeders of the chosen compressors."),
        number(
            "Air flow",
            f"Sum of the flow meters of the chosen compressors, latest values; blank while one that delivered within"
            f" the last"
            f" hour has been silent for 2 minutes. {_DERIVED}",
            flow,
            NM3H,
            decimals=0,
        ),
        number(
            "Specific power",
            f"Feeder power over air flow, latest values. About 6.0 to 7.8 is common for screw packages. {_DERIVED}",
            specific,
            SPECIFIC_POWER,
            steps=_SPECIFIC,
            decimals=2,
        ),
        *today_numbers(_TOGETHER, "Feeders of the chosen compressors."),
        number(
            "Lowest pressure",
            "Lowest discharge pressure of the chosen compressors, latest values, none older than 2 minutes.",
            f"""{with_ctes(PLANT)}
SELECT min(last.value) AS discharge_pressure_bar
FROM plant {latest("discharge_pressure_bar", "plant.meter_id")}
WHERE kind = 'compressor' AND {chosen("asset_key", "asset")}""",
            BAR,
            steps=((None, RED), (6.0, GREEN)),
            decimals=1,
        ),
    ]


def _specific_power() -> Panel:
    return series(
        "Specific power",
        "Mean feeder power over mean air flow of the same interval, per compressor. A gap: one of them is missing, or"
        " the"
        f" compressor delivers less than 1 Nm3/min. {_DERIVED}",
        f"""{with_ctes(*scoped(_EACH), power_by_meter("SELECT meter_id FROM top"))},
flow AS (
    SELECT $__timeGroupAlias(reading.time, $__interval, NULL), asset_name AS scope, avg(air_flow_nm3h) AS nm3h
    FROM reading JOIN plant USING (meter_id)
    WHERE $__timeFilter(reading.time) AND air_flow_nm3h IS NOT NULL
      AND kind = 'compressor' AND {chosen("asset_key", "asset")}
    GROUP BY 1, 2
)
SELECT time, scope AS metric, CASE WHEN max(nm3h) >= 60 THEN sum(power_kw) / (max(nm3h) / 60) END AS value
FROM power JOIN top USING (meter_id) JOIN flow USING (time, scope)
GROUP BY 1, 2
ORDER BY 1, 2""",
        SPECIFIC_POWER,
        steps=_SPECIFIC,
        decimals=2,
        minimum=0.0,
    )


def _state() -> Panel:
    return states(
        "State",
        "The controller's own state where it tells one. Otherwise from the feeder: below 5 % of the rated power off,"
        " below"
        " 40 % unloaded, above loaded; an unloaded screw compressor takes about 28 % of its full load.",
        f"""{with_ctes(PLANT)}
SELECT $__timeGroupAlias(reading.time, $__interval, NULL), asset_name AS metric,
       coalesce(max(run_state), CASE WHEN avg(active_power_kw) < 0.05 * max(rated_power_kw) THEN 0
                                     WHEN avg(active_power_kw) < 0.4 * max(rated_power_kw) THEN 4
                                     WHEN avg(active_power_kw) >= 0.4 * max(rated_power_kw) THEN 3 END) AS value
FROM reading JOIN plant USING (meter_id)
WHERE $__timeFilter(reading.time) AND kind = 'compressor' AND {chosen("asset_key", "asset")}
GROUP BY 1, 2
ORDER BY 1, 2""",
        RUN_STATES,
    )


def _hours() -> Panel:
    return records(
        "Hours",
        "The controllers' own counters at the end of the shown range, none older than a day. Loaded share is loaded"
        " hours"
        " over running hours since the counters began; a low one means a compressor that idles.",
        f"""{with_ctes(PLANT)}
SELECT asset_name AS "Compressor", running_hours_h AS "Running", loaded_hours_h AS "Loaded",
       100 * loaded_hours_h / nullif(running_hours_h, 0) AS "Loaded share", starts_count AS "Starts", time AS "Read"
FROM plant CROSS JOIN LATERAL (
    SELECT time, running_hours_h, loaded_hours_h, starts_count FROM reading
    WHERE reading.meter_id = plant.meter_id AND running_hours_h IS NOT NULL
      AND time > {NOW} - interval '1 day' AND time <= {NOW}
    ORDER BY time DESC LIMIT 1
) AS last
WHERE kind = 'compressor' AND {chosen("asset_key", "asset")}
ORDER BY 1""",
        {
            "Running": Column(HOURS, decimals=0),
            "Loaded": Column(HOURS, decimals=0),
            "Loaded share": Column(PERCENT, decimals=0, steps=((None, RED), (60.0, AMBER), (80.0, GREEN))),
            "Starts": Column(COUNT, decimals=0),
            "Read": Column(TIME, width=170),
        },
    )


def build() -> Dashboard:
    """Return the dashboard."""
    temperatures = {
        "airend": "airend_temperature_c",
        "coolant": "coolant_temperature_c",
        "aftercooler": "aftercooler_temperature_c",
    }
    return build_dashboard(
        "emsd-compressors",
        "Compressors",
        "Power, pressure, flow, specific power, hours and state of the air compressors.",
        [variables.site(), variables.assets(["compressor"])],
        {
            "Now and today": _numbers(),
            "Power and flow": [
                power_over_time("Power", "Feeder power of each chosen compressor.", _EACH),
                series(
                    "Air flow",
                    f"Mean flow per interval of each compressor's flow meter, from raw readings. {_DERIVED}",
                    raw_by_asset("compressor", {"": "air_flow_nm3h"}),
                    NM3H,
                    min_interval="30s",
                    decimals=0,
                    minimum=0.0,
                ),
                _specific_power(),
                series(
                    "Discharge pressure",
                    "Mean discharge pressure per interval from each controller, over atmosphere, from raw readings;"
                    " the line"
                    " is at 6 bar.",
                    raw_by_asset("compressor", {"": "discharge_pressure_bar"}),
                    BAR,
                    min_interval="30s",
                    steps=((None, RED), (6.0, GREEN)),
                ),
            ],
            "Machines": [
                _state(),
                _hours(),
                series(
                    "Temperatures",
                    "Mean temperatures per interval from each controller, from raw readings: airend discharge, injected"
                    " coolant, aftercooler discharge.",
                    raw_by_asset("compressor", temperatures),
                    CELSIUS,
                    min_interval="30s",
                ),
            ],
            "Energy": [
                energy_per_hour("Feeder energy of each chosen compressor.", _EACH),
                asset_energy(_EACH, "Compressor"),
            ],
        },
        since="now-6h",
        refresh="10s",
    )
