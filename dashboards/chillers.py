"""Chillers: power from the feeders, temperatures and capacity from the controllers."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from . import variables
from .common import RUN_STATES, asset_energy, energy_per_hour, power_now, power_over_time, today_numbers
from .house import build_dashboard
from .panels import Column, Panel, number, records, series, states
from .sql import NOW, PLANT, chosen, latest, raw_by_asset, with_ctes
from .units import AMBER, CELSIUS, COUNT, GREEN, HOURS, PERCENT, RED, TIME, Steps

__all__ = ["build"]

_CHOSEN: Final = f"kind = 'chiller' AND {chosen('asset_key', 'asset')}"
_TOGETHER: Final = f"SELECT 'chillers' AS scope, meter_id FROM plant WHERE measures_energy AND {_CHOSEN}"
_EACH: Final = f"SELECT asset_name AS scope, meter_id FROM plant WHERE measures_energy AND {_CHOSEN}"
_LEAVING: Final[Steps] = ((None, GREEN), (10.0, AMBER), (12.0, RED))


def _numbers() -> list[Panel]:
    def extreme(which: str, value: str) -> str:
        return f"""{with_ctes(PLANT)}
SELECT {which}(last.value) AS value FROM plant {latest(value, "plant.meter_id")} WHERE {_CHOSEN}"""

    return [
        power_now(_TOGETHER, "Feeders of the chosen chillers."),
        *today_numbers(_TOGETHER, "Feeders of the chosen chillers."),
        number(
            "Chilled water leaving",
            "Warmest chilled water that leaves one of the chosen chillers, latest values, none older than 2 minutes.",
            extreme("max", "chilled_water_leaving_temperature_c"),
            CELSIUS,
            steps=_LEAVING,
            decimals=1,
        ),
        number(
            "Chilled water difference",
            "Largest difference between entering and leaving chilled water, latest values. Small differences at high"
            " power"
            " mean too much water flow.",
            extreme("max", "(chilled_water_entering_temperature_c - chilled_water_leaving_temperature_c)"),
            CELSIUS,
            decimals=1,
        ),
        number(
            "Capacity",
            "Mean capacity of the chosen chillers as their controllers state it, latest values.",
            extreme("avg", "capacity_percent"),
            PERCENT,
            decimals=0,
        ),
    ]


def _temperatures(title: str, about: str, values: dict[str, str], *, steps: Steps = ()) -> Panel:
    return series(
        title,
        f"{about} Mean per interval from the controllers, from raw readings.",
        raw_by_asset("chiller", values),
        CELSIUS,
        min_interval="30s",
        decimals=1,
        steps=steps,
    )


def _machines() -> list[Panel]:
    return [
        states(
            "State",
            "What each controller says of itself; the latest state of each interval.",
            f"""{with_ctes(PLANT)}
SELECT $__timeGroupAlias(reading.time, $__interval, NULL), asset_name AS metric,
       last(run_state, reading.time)::float8 AS value
FROM reading JOIN plant USING (meter_id)
WHERE $__timeFilter(reading.time) AND run_state IS NOT NULL AND {_CHOSEN}
GROUP BY 1, 2
ORDER BY 1, 2""",
            RUN_STATES,
        ),
        records(
            "Hours and starts",
            "The controllers' own counters at the end of the shown range, none older than a day.",
            f"""{with_ctes(PLANT)}
SELECT asset_name AS "Chiller", running_hours_h AS "Running", starts_count AS "Starts",
       running_hours_h / nullif(starts_count, 0) AS "Hours per start", time AS "Read"
FROM plant CROSS JOIN LATERAL (
    SELECT time, running_hours_h, starts_count FROM reading
    WHERE reading.meter_id = plant.meter_id AND running_hours_h IS NOT NULL
      AND time > {NOW} - interval '1 day' AND time <= {NOW}
    ORDER BY time DESC LIMIT 1
) AS last
WHERE {_CHOSEN}
ORDER BY 1""",
            {
                "Running": Column(HOURS, decimals=0),
                "Starts": Column(COUNT, decimals=0),
                "Hours per start": Column(HOURS, decimals=1),
                "Read": Column(TIME, width=170),
            },
            height=6,
        ),
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    return build_dashboard(
        "emsd-chillers",
        "Chillers",
        "Power, temperatures, capacity and state of the chillers. Where the chilled water is metered, the board of key"
        " figures shows the coefficient of performance.",
        [variables.site(), variables.assets(["chiller"])],
        {
            "Now and today": _numbers(),
            "Power and capacity": [
                power_over_time("Power", "Feeder power of each chosen chiller.", _EACH),
                series(
                    "Capacity",
                    "Capacity as each controller states it. Mean per interval, from raw readings.",
                    raw_by_asset("chiller", {"": "capacity_percent"}),
                    PERCENT,
                    min_interval="30s",
                    minimum=0.0,
                    maximum=100.0,
                ),
            ],
            "Water": [
                _temperatures(
                    "Chilled water",
                    "Chilled water leaving and entering, and the set-point.",
                    {
                        "leaving": "chilled_water_leaving_temperature_c",
                        "entering": "chilled_water_entering_temperature_c",
                        "set-point": "chilled_water_setpoint_c",
                    },
                ),
                _temperatures(
                    "Chilled water difference",
                    "Entering less leaving chilled water: with constant flow it is proportional to the cooling power.",
                    {"": "chilled_water_entering_temperature_c - chilled_water_leaving_temperature_c"},
                ),
                _temperatures(
                    "Condenser water",
                    "Condenser water leaving and entering.",
                    {
                        "leaving": "condenser_water_leaving_temperature_c",
                        "entering": "condenser_water_entering_temperature_c",
                    },
                ),
                _temperatures(
                    "Approach",
                    "Chilled water leaving less evaporator refrigerant, and condenser refrigerant less condenser water"
                    " leaving. A rise over weeks at equal load means fouled tubes.",
                    {
                        "evaporator": "chilled_water_leaving_temperature_c - evaporator_refrigerant_temperature_c",
                        "condenser": "condenser_refrigerant_temperature_c - condenser_water_leaving_temperature_c",
                    },
                ),
            ],
            "Machines": _machines(),
            "Energy": [
                energy_per_hour("Feeder energy of each chosen chiller.", _EACH),
                asset_energy(_EACH, "Chiller"),
            ],
        },
    )
