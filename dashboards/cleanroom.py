"""Cleanroom: who takes its power, and whether its climate holds."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders.dashboard import Dashboard

from . import variables
from .common import asset_energy, energy_per_hour, power_now, power_over_time, today_numbers
from .house import build_dashboard
from .panels import Panel, number, series
from .sql import AREA_TREE, PLANT, chosen, latest, power_by_meter, scoped, with_ctes
from .units import AMBER, CELSIUS, GREEN, HUMIDITY, KW, PASCAL, RED, W_PER_M2, Steps

__all__ = ["build"]

_CHOSEN: Final = chosen("key", "meter")
_ALL_CHOSEN: Final = f"SELECT 'cleanroom' AS scope, meter_id FROM plant WHERE measures_energy AND {_CHOSEN}"
_EACH_METER: Final = f"SELECT name AS scope, meter_id FROM plant WHERE measures_energy AND {_CHOSEN}"
# 15 Pa is where the example plant raises its alarm; 40 to 60 % is the usual band for electronics.
_PRESSURE: Final[Steps] = ((None, RED), (15.0, GREEN))
_HUMIDITY: Final[Steps] = ((None, AMBER), (40.0, GREEN), (60.0, AMBER))

_FLOOR: Final = f"""floor AS (
    SELECT sum(floor_area_m2) AS m2 FROM area
    WHERE {chosen("key", "area")} AND NOT EXISTS (
        SELECT FROM area_tree JOIN area AS above ON above.area_id = area_tree.above_id
        WHERE area_tree.area_id = area.area_id AND above.area_id <> area.area_id AND {chosen("above.key", "area")})
)"""


def _climate_now(title: str, about: str, quantity: str, unit: str, which: str, steps: Steps) -> Panel:
    return number(
        title,
        f"{about} Of the chosen meters that measure it; none older than 2 minutes at the end of the shown range.",
        f"""{with_ctes(PLANT)}
SELECT {which}(last.value) AS {quantity}
FROM plant {latest(quantity, "plant.meter_id")}
WHERE {_CHOSEN}""",
        unit,
        steps=steps,
        decimals=1,
        width=4,
    )


def _climate(title: str, about: str, quantity: str, unit: str, *, steps: Steps = ()) -> Panel:
    return series(
        title,
        f"{about} Mean per interval of the chosen meters that measure it, from raw readings.",
        f"""{with_ctes(PLANT)}
SELECT $__timeGroupAlias(reading.time, $__interval, NULL), name AS metric, avg({quantity}) AS value
FROM reading JOIN plant USING (meter_id)
WHERE $__timeFilter(reading.time) AND {quantity} IS NOT NULL AND {_CHOSEN}
GROUP BY 1, 2
ORDER BY 1, 2""",
        unit,
        min_interval="30s",
        steps=steps,
        width=8,
    )


def _density() -> Panel:
    return number(
        "Power density",
        "Latest power of the top meters among the chosen ones, over the floor area of the chosen areas; an area inside"
        " another chosen one counts once. Blank while a meter or the floor area is missing.",
        f"""{with_ctes(AREA_TREE, _FLOOR, *scoped(_ALL_CHOSEN))}
SELECT CASE WHEN bool_and(last.value IS NOT NULL) THEN 1000 * sum(last.value) / nullif(max(floor.m2), 0) END AS w_per_m2
FROM top CROSS JOIN floor {latest("active_power_kw", "top.meter_id")}""",
        W_PER_M2,
        decimals=0,
    )


def _residual() -> Panel:
    meters = f"SELECT meter_id FROM plant WHERE measures_energy AND ({_CHOSEN} OR parent_meter_id IS NOT NULL)"
    return series(
        "Not metered below",
        "Power of each chosen meter that has meters below it, less theirs: small consumers without a meter, losses and"
        " measurement error. A lasting jump hints at a wrong CT ratio or a new consumer. A gap: one of the meters"
        " delivered nothing.",
        f"""{with_ctes(PLANT, power_by_meter(meters))}
SELECT above.time, feeder.name AS metric,
       CASE WHEN count(below.power_kw) = (SELECT count(*) FROM plant WHERE parent_meter_id = feeder.meter_id)
            THEN above.power_kw - sum(below.power_kw) END AS value
FROM power AS above
JOIN plant AS feeder USING (meter_id)
JOIN plant AS child ON child.parent_meter_id = feeder.meter_id
LEFT JOIN power AS below ON below.meter_id = child.meter_id AND below.time = above.time
WHERE {chosen("feeder.key", "meter")}
GROUP BY above.time, feeder.meter_id, feeder.name, above.power_kw
ORDER BY 1, 2""",
        KW,
    )


def build() -> Dashboard:
    """Return the dashboard."""
    kinds = ("cleanroom", "lighting")
    scope = "The top meters among the chosen ones, so that a feeder and what is behind it do not count twice."
    return build_dashboard(
        "emsd-cleanroom",
        "Cleanroom",
        "Power, energy and climate of the cleanroom.",
        [
            variables.site(),
            variables.areas("cleanroom"),
            variables.assets(kinds, in_areas=True),
            variables.meters(of_assets=True),
        ],
        {
            "Now and today": [
                power_now(_ALL_CHOSEN, scope),
                _density(),
                *today_numbers(_ALL_CHOSEN, scope),
                _climate_now(
                    "Over-pressure",
                    "Lowest over-pressure against the neighbouring rooms; green from 15 Pa on.",
                    "room_pressure_pa",
                    PASCAL,
                    "min",
                    _PRESSURE,
                ),
                _climate_now(
                    "Temperature", "Mean room temperature.", "room_temperature_c", CELSIUS, "avg", ((None, GREEN),)
                ),
            ],
            "Power": [
                power_over_time("Power by meter", "Every chosen meter; a feeder contains those below it.", _EACH_METER),
                _residual(),
            ],
            "Climate": [
                _climate(
                    "Over-pressure",
                    "Room pressure against the neighbouring rooms.",
                    "room_pressure_pa",
                    PASCAL,
                    steps=_PRESSURE,
                ),
                _climate("Temperature", "Room temperature.", "room_temperature_c", CELSIUS),
                _climate("Humidity", "Relative humidity.", "relative_humidity_percent", HUMIDITY, steps=_HUMIDITY),
            ],
            "Energy": [
                energy_per_hour(
                    "Net energy of the chosen meters that have none of the chosen below them, so the stack adds up.",
                    _leaves(),
                ),
                asset_energy(_EACH_METER, "Meter"),
            ],
        },
    )


def _leaves() -> str:
    return f"""SELECT name AS scope, meter_id FROM plant
    WHERE measures_energy AND {_CHOSEN} AND NOT EXISTS (
        SELECT FROM upstream JOIN plant AS below ON below.meter_id = upstream.meter_id
        WHERE upstream.above_id = plant.meter_id AND {chosen("below.key", "meter")})"""
