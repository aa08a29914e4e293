"""How alarms are listed: the states' and priorities' colours, and the table of active alarms."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from .panels import Column, Labels
from .units import AMBER, BLUE, GREEN, RED, TIME

__all__ = ["ACTIVE_ALARMS", "ALARM_COLUMNS", "PRIORITIES", "STATES", "active_alarms"]

STATES: Final[Labels] = MappingProxyType(
    {
        "unacknowledged": ("unacknowledged", RED),
        "returned_unacknowledged": ("returned, unacknowledged", AMBER),
        "acknowledged": ("acknowledged", BLUE),
        "normal": ("normal", GREEN),
    }
)
PRIORITIES: Final[Labels] = MappingProxyType({"high": ("high", RED), "medium": ("medium", AMBER), "low": ("low", BLUE)})

ALARM_COLUMNS: Final[Mapping[str, Column]] = MappingProxyType(
    {
        "Since": Column(TIME, width=170),
        "State": Column(labels=STATES, width=190),
        "Priority": Column(labels=PRIORITIES, width=90),
        "Value": Column(decimals=2, width=100),
    }
)


def active_alarms(condition: str = "") -> str:
    """Return the query of alarms that are not normal; `condition` begins with AND."""
    return f"""SELECT since AS "Since", state AS "State", priority AS "Priority", alarm.name AS "Alarm",
       meter.name AS "Meter", value AS "Value", condition AS "Raised when", advice AS "Do first"
FROM alarm JOIN meter USING (meter_id) JOIN asset USING (asset_id) JOIN area USING (area_id)
WHERE meter.site_id::text = ${{site:sqlstring}} AND state <> 'normal' AND retired_at IS NULL{condition}
ORDER BY array_position(ARRAY['unacknowledged', 'returned_unacknowledged', 'acknowledged'], state),
         array_position(ARRAY['high', 'medium', 'low'], priority), since"""


ACTIVE_ALARMS: Final = active_alarms()
