"""Which behaviour the load behind a meter has: by a word of its key, else by what its asset is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from emsd.plant.models import AssetKind
from simulator.noise import FloatArray, Stream
from simulator.physics.buildings import building, pump, steady, water_treatment
from simulator.physics.cleanroom import exhaust, fan_filters, lighting, make_up_air
from simulator.physics.day import Day

__all__ = [
    "BY_NAME",
    "CHILLED_PUMP",
    "CONDENSER_PUMP",
    "FREE_COOLING",
    "HEAT_TO_WATER",
    "PROCESS_TOOLS",
    "TOWER",
    "Behaviour",
    "behaviour_name",
]

Behaviour = Callable[[Day, Stream, str], FloatArray]
"""Share of the rated power, 0..1, on the knots of a day; the last argument is the key of the asset."""

PROCESS_TOOLS: Final = "process_tools"
CHILLED_PUMP: Final = "chilled_water_pump"
CONDENSER_PUMP: Final = "condenser_water_pump"
TOWER: Final = "cooling_tower"
FREE_COOLING: Final = "free_cooling"

BY_NAME: Final[dict[str, Behaviour]] = {
    "fan_filters": fan_filters,
    "make_up_air": make_up_air,
    "exhaust": exhaust,
    "lighting": lighting,
    "pump": pump,
    "water_treatment": water_treatment,
    "steady": steady,
    "building": building,
}

HEAT_TO_WATER: Final = {
    PROCESS_TOOLS: 0.98,  # the rest leaves with the products
    "fan_filters": 1.0,
    "make_up_air": 1.0,
    "lighting": 1.0,
    "water_treatment": 0.2,
    "building": 0.5,
    "steady": 0.8,
}
"""Which share of a load's power chilled water must carry away."""

_BY_KIND = {
    AssetKind.CLEANROOM: "fan_filters",
    AssetKind.PROCESS_TOOL: PROCESS_TOOLS,
    AssetKind.PUMP: "pump",
    AssetKind.LIGHTING: "lighting",
}

# A cleanroom's feeders differ more from each other than kinds of assets do; their keys say which is which.
_BY_WORD = {
    "ffu": "fan_filters",
    "fan": "fan_filters",
    "mau": "make_up_air",
    "make": "make_up_air",
    "ahu": "make_up_air",
    "hvac": "make_up_air",
    "exhaust": "exhaust",
    "scrubber": "exhaust",
    "light": "lighting",
    "lighting": "lighting",
    "tool": PROCESS_TOOLS,
    "tools": PROCESS_TOOLS,
    "tower": TOWER,
    "towers": TOWER,
    "upw": "water_treatment",
    "wastewater": "water_treatment",
    "water": "water_treatment",
    "pump": "pump",
    "data": "steady",
    "dryer": "steady",
    "gas": "steady",
    "free": FREE_COOLING,
}

_BY_WORD_OF_PUMPS = {
    "chw": CHILLED_PUMP,
    "chilled": CHILLED_PUMP,
    "cw": CONDENSER_PUMP,
    "condenser": CONDENSER_PUMP,
}


def behaviour_name(kind: AssetKind, meter_key: str) -> str:
    """Return which behaviour the load behind a meter has."""
    words = meter_key.replace("_", "-").split("-")
    known = _BY_WORD_OF_PUMPS | _BY_WORD if kind is AssetKind.PUMP else _BY_WORD
    return next((known[word] for word in words if word in known), _BY_KIND.get(kind, "building"))
