"""What a person is told of meters that their connection cannot serve."""

from __future__ import annotations

from emsd.collector import BoundMeter
from emsd.errors import Fault

__all__ = ["unreadable"]


def unreadable(bound: BoundMeter, protocol: str, reason: ValueError) -> Fault:
    """Return the fault of a meter whose profile cannot be read over `protocol`."""
    return Fault(
        file="plant",
        line=None,
        field=f"meter {bound.meter.key} with profile {bound.profile.profile}",
        problem=f"cannot be read over {protocol}: {reason}",
        cure="correct the meter or its profile",
    )
