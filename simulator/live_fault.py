"""A fault that a simulator has, with its chance and the count of what it has touched."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from simulator.faults import DeviceFault

__all__ = ["LiveFault"]


@dataclass(slots=True)
class LiveFault:
    """One fault under its number in a simulator."""

    number: int
    fault: DeviceFault
    hits: int = 0
    """Requests, connections or messages that it has touched."""
    meters: frozenset[str] = frozenset()
    """Whom it happens to."""
    round: int = 0
    """Where it stands, for a fault that goes by turns."""
    chance: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.fault.seed)  # noqa: S311  (the same seed makes the same plant)

    def strikes(self) -> bool:
        """Whether it happens this time, by its `share`; counted if so."""
        share = self.fault.number("share") if "share" in self.fault.of_kind.defaults else 1.0
        if share < 1.0 and self.chance.random() >= share:
            return False
        self.hits += 1
        return True
