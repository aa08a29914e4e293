"""Answers that are too equal to be true: a gateway repeats the last values of a device that has died.

A live meter under load never says the same twice for long: its frequency, voltages and currents move in their last
digits with every renewal. So answers that stay equal bit for bit are believed for a while only. An idle feeder may well
be constant, and so may be a meter whose only values are a coarse power and current; both are left in peace.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from emsd.plant.modbus_map import ModbusMap
from emsd.quantities import BY_NAME, Kind

__all__ = ["FrozenWatch", "frozen_after_s"]

LEAST_S: Final = 300.0
LEAST_POLLS: Final = 20
LEAST_RENEWALS: Final = 10
"""Without a time of the profile's own: the longest of five minutes, 20 polls, and 10 renewals of the device's values.
To throw away good values is worse than to notice a dead meter some minutes later, when its counter bridges the gap."""

LOAD_SHARE: Final = 0.02
"""Power above this share of the rating is load."""
LOAD_KW: Final = 0.5
"""Power that is load where the rating is not known [kW]."""
LOAD_A: Final = 1.0
"""Current that is load [A]."""

_POWER: Final = "active_power_kw"
_CURRENTS: Final = frozenset({"current_l1_a", "current_l2_a", "current_l3_a"})
_RESTLESS: Final = frozenset(each for each in BY_NAME if each == "frequency_hz" or each.startswith("voltage_l"))
"""What the grid keeps moving, whatever the load does."""


def frozen_after_s(registers: ModbusMap, interval_s: float) -> float | None:
    """Return how long equal answers under load are believed [s]; None when for ever.

    The profile's own time counts. Without it a device is watched that measures a load and something that the grid
    keeps moving.
    """
    if registers.frozen_after_s is not None:
        return registers.frozen_after_s
    names = {point.quantity for point in registers.points}
    if names.isdisjoint(_RESTLESS) or names.isdisjoint({_POWER, *_CURRENTS}):
        return None
    return max(LEAST_S, LEAST_POLLS * interval_s, LEAST_RENEWALS * (registers.refresh_s or 0.0))


class FrozenWatch:
    """Watches the answers of one meter.

    Args:
        registers: map of its profile.
        interval_s: time between two polls [s].
        rated_power_kw: rating of the equipment behind it [kW]; None when it is not known.
    """

    __slots__ = ("_after_s", "_changed", "_last", "_least_kw", "_needs_load", "_since")

    def __init__(self, registers: ModbusMap, interval_s: float, rated_power_kw: float | None) -> None:
        names = {point.quantity for point in registers.points}
        self._after_s = frozen_after_s(registers, interval_s)
        self._needs_load = not names.isdisjoint({_POWER, *_CURRENTS})
        self._least_kw = LOAD_KW if rated_power_kw is None else LOAD_SHARE * rated_power_kw
        self._last: dict[object, bytes] = {}
        self._changed = True
        self._since = 0.0

    def compare(self, request: object, payload: bytes) -> None:
        """Take one answer; `request` tells what it answers."""
        if self._after_s is not None and self._last.get(request) != payload:
            self._changed |= request in self._last
            self._last[request] = payload

    def frozen_for_s(self, now: float, values: Iterator[tuple[str, float | None]]) -> float | None:
        """Return for how long the meter has said the same under load [s], or None when that is no reason to doubt it.

        To be asked once after each poll that was answered.

        Args:
            now: monotonic clock [s].
            values: what the poll gave; looked at only when the answers have been equal for long.
        """
        if self._after_s is None:
            return None
        if self._changed:
            self._changed = False
            self._since = now
        equal_s = now - self._since
        if equal_s < self._after_s:
            return None
        known = dict(values)
        if not any(BY_NAME[name].kind is Kind.GAUGE for name in known):
            return None
        return equal_s if not self._needs_load or self._load_is_on(known) else None

    def _load_is_on(self, values: dict[str, float | None]) -> bool:
        power = values.get(_POWER)
        if power is not None:
            return abs(power) > self._least_kw
        return any(abs(values.get(name) or 0.0) > LOAD_A for name in _CURRENTS)
