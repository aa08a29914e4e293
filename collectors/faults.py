"""Meters that their connection cannot serve, all told at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from emsd.collector import BoundMeter
from emsd.errors import Fault, PlantError

__all__ = ["each_readable", "unreadable"]

T = TypeVar("T")


def each_readable(meters: Sequence[BoundMeter], protocol: str, prepare: Callable[[BoundMeter], T]) -> list[T]:
    """Return what `prepare` makes of each meter.

    Raises:
        PlantError: names every meter for which it raised a ValueError, because it cannot be read over `protocol`.
    """
    ready: list[T] = []
    faults: list[Fault] = []
    for bound in meters:
        try:
            ready.append(prepare(bound))
        except ValueError as error:
            faults.append(unreadable(bound, protocol, error))
    if faults:
        raise PlantError(faults)
    return ready


def unreadable(bound: BoundMeter, protocol: str, reason: ValueError) -> Fault:
    """Return the fault of a meter whose profile cannot be read over `protocol`."""
    return Fault(
        file="plant",
        line=None,
        field=f"meter {bound.meter.key} with profile {bound.profile.profile}",
        problem=f"cannot be read over {protocol}: {reason}",
        cure="correct the meter or its profile",
    )
