"""What changes in a plant, or goes wrong with it, and since when: data, so that its true cost can be computed.

A scenario has a kind, an asset that it concerns (or the whole site), a time, and an amount in the unit of its kind. It
may grow from nothing to its amount over days. Interventions, which save, are scenarios like faults, which cost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from emsd.plant.models import AssetKind
from emsd.readings import instant_us
from simulator.noise import FloatArray

__all__ = ["KINDS", "SAVINGS", "Scenario", "ScenarioKind", "Scenarios", "Traits"]


class ScenarioKind(StrEnum):
    """What changes."""

    AIR_LEAK = "air_leak"
    AIR_SETPOINT = "air_setpoint"
    COMPRESSOR_WEAR = "compressor_wear"
    COP_DRIFT = "cop_drift"
    CHILLED_WATER_SETPOINT = "chilled_water_setpoint"
    STUCK_VALVE = "stuck_valve"
    SOILING = "soiling"
    STRING_OUTAGE = "string_outage"
    LIGHTS_ON = "lights_on"
    CLOGGED_FILTERS = "clogged_filters"
    SPEED_CONTROL = "speed_control"
    LEAK_REPAIR = "leak_repair"
    FREE_COOLING = "free_cooling"
    LIGHTING_CONTROL = "lighting_control"
    FAN_MOTORS = "fan_motors"


@dataclass(frozen=True, slots=True)
class Traits:
    """What a kind of scenario is."""

    unit: str
    least: float
    most: float
    asset_kinds: tuple[AssetKind, ...]
    """Assets that it may concern; none: it concerns the site."""
    summary: str


_AIR = (AssetKind.COMPRESSOR,)
_COLD = (AssetKind.CHILLER,)
_SUN = (AssetKind.PV_INVERTER,)
_LIGHT = (AssetKind.LIGHTING,)
_FANS = (AssetKind.CLEANROOM,)

KINDS: Final = {
    ScenarioKind.AIR_LEAK: Traits("share of the installed air", 0.0, 0.5, (), "compressed air escapes"),
    ScenarioKind.AIR_SETPOINT: Traits("bar", -2.0, 2.0, (), "the air's pressure is set to another value"),
    ScenarioKind.COMPRESSOR_WEAR: Traits("share of its power", 0.0, 0.2, _AIR, "a compressor takes more power"),
    ScenarioKind.COP_DRIFT: Traits("share of its power", 0.0, 0.4, _COLD, "a chiller's condenser fouls"),
    ScenarioKind.CHILLED_WATER_SETPOINT: Traits("K", -2.0, 3.0, (), "chilled water is set colder or warmer"),
    ScenarioKind.STUCK_VALVE: Traits("share of the installed cooling", 0.0, 0.3, (), "a valve stays open"),
    ScenarioKind.SOILING: Traits("share of the light", 0.0, 0.6, _SUN, "dirt gathers on modules"),
    ScenarioKind.STRING_OUTAGE: Traits("share of the strings", 0.0, 1.0, _SUN, "strings are dead"),
    ScenarioKind.LIGHTS_ON: Traits("share of the light", 0.0, 1.0, _LIGHT, "light burns when nobody is there"),
    ScenarioKind.CLOGGED_FILTERS: Traits("share of its power", 0.0, 0.3, _FANS, "fans push against old filters"),
    ScenarioKind.SPEED_CONTROL: Traits(
        "share of its machines", 0.0, 1.0, _AIR, "a compressor gets a variable-speed drive"
    ),
    ScenarioKind.LEAK_REPAIR: Traits("share of the leaks", 0.0, 1.0, (), "leaks of compressed air are closed"),
    ScenarioKind.FREE_COOLING: Traits("1", 0.0, 1.0, (), "towers cool the water alone when it is cold enough"),
    ScenarioKind.LIGHTING_CONTROL: Traits("1", 0.0, 1.0, _LIGHT, "light follows the people"),
    ScenarioKind.FAN_MOTORS: Traits("share of its power", 0.0, 0.6, _FANS, "fans get better motors"),
}
"""What each kind of scenario changes, and by which unit."""

SAVINGS: Final = frozenset(
    {
        ScenarioKind.SPEED_CONTROL,
        ScenarioKind.LEAK_REPAIR,
        ScenarioKind.FREE_COOLING,
        ScenarioKind.LIGHTING_CONTROL,
        ScenarioKind.FAN_MOTORS,
    }
)
"""Interventions: kinds that are there to save."""

_S_PER_DAY = 86_400.0


class Scenario(BaseModel):
    """One change of a plant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="Its name, unique in the file.")
    kind: ScenarioKind = Field(description="What changes.")
    asset: str | None = Field(default=None, description="Asset that it concerns; absent: all that can have it.")
    amount: float = Field(description="How much, in the unit of the kind.")
    start: AwareDatetime = Field(description="When it begins.")
    end: AwareDatetime | None = Field(default=None, description="When it is over; absent: never.")
    grows_over_days: float = Field(default=0.0, ge=0.0, description="How long it takes to its amount [d].")

    @model_validator(mode="after")
    def _within_its_kind(self) -> Scenario:
        traits = KINDS[self.kind]
        if not traits.least <= self.amount <= traits.most:
            raise ValueError(f"amount {self.amount} of {self.kind} is not {traits.least}..{traits.most} {traits.unit}")
        if self.asset is not None and not traits.asset_kinds:
            raise ValueError(f"{self.kind} concerns the whole site; leave asset {self.asset} out")
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"it ends ({self.end.isoformat()}) before it begins ({self.start.isoformat()})")
        return self

    def amount_at(self, time_s: FloatArray) -> FloatArray:
        """Return how much of it is in force at times [s since 1970-01-01 UTC], in the unit of its kind."""
        start = _seconds(self.start)
        since = time_s - start
        grown = np.clip(since / (self.grows_over_days * _S_PER_DAY), 0.0, 1.0) if self.grows_over_days else since >= 0
        over = False if self.end is None else time_s >= _seconds(self.end)
        return self.amount * np.where(over, 0.0, grown)


def _seconds(when: datetime) -> float:
    return instant_us(when) / 1e6


@dataclass(frozen=True, slots=True)
class Scenarios:
    """All scenarios of a plant, found by what they change."""

    all: tuple[Scenario, ...] = ()
    _by_kind: dict[ScenarioKind, list[Scenario]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_kind: defaultdict[ScenarioKind, list[Scenario]] = defaultdict(list)
        for each in self.all:
            by_kind[each.kind].append(each)
        object.__setattr__(self, "_by_kind", dict(by_kind))

    @classmethod
    def of(cls, scenarios: Iterable[Scenario]) -> Scenarios:
        """Return these scenarios."""
        return cls(tuple(scenarios))

    def amount(self, kind: ScenarioKind, target: str | None, time_s: FloatArray) -> FloatArray | float:
        """Return the sum of all of a kind that concern an asset (None: the site), 0.0 when there is none.

        A kind never goes beyond its limits, however many of its scenarios come together.
        """
        concerned = [each for each in self._by_kind.get(kind, ()) if each.asset is None or each.asset == target]
        if not concerned:
            return 0.0
        total = concerned[0].amount_at(time_s)
        for each in concerned[1:]:
            total = total + each.amount_at(time_s)
        return np.clip(total, KINDS[kind].least, KINDS[kind].most)

    def concern(self, asset_key: str, kind: AssetKind) -> bool:
        """Return whether any of them changes what this asset does, and not what all of its kind do."""
        return any(kind in KINDS[each.kind].asset_kinds and each.asset == asset_key for each in self.all)

    def without(self, key: str) -> Scenarios:
        """Return all but one; raises KeyError when there is none of this name."""
        if key not in {each.key for each in self.all}:
            raise KeyError(key)
        return Scenarios(tuple(each for each in self.all if each.key != key))
