"""What one meter has to be asked for at a tick: its points as requests, and what its device taught about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from collectors.modbus.plan import (
    Block,
    Cut,
    Forbidden,
    Rules,
    Target,
    plan_blocks,
    registers_wanted,
    split_address,
    why_unreadable,
)
from collectors.modbus.requests import Request, request_for
from collectors.modbus.sunspec import place_points
from collectors.modbus.sunspec_models import identity_of, resolve
from emsd.collector import PlanEfficiency
from emsd.plant.modbus_map import IdentityRegister, ModbusMap, ModbusPoint

__all__ = ["Reads", "Request"]

_MOST_REGISTERS: Final = 125
"""Registers of the longest read: Modbus Application Protocol V1.1b3, sections 6.3 and 6.4."""


class Reads:
    """The requests of one meter.

    Args:
        registers: map of its profile.
        interval_s: time between two polls [s]; points with a longer interval of their own are read only when due.
        rated_power_kw: rating of the equipment behind it [kW]; None when it is not known.
        gap_registers: holes up to this size are read through, unless the profile says its own.

    Raises:
        ValueError: the map cannot be read as it is written.
    """

    def __init__(
        self,
        registers: ModbusMap,
        interval_s: float,
        rated_power_kw: float | None,
        *,
        gap_registers: int | None = None,
    ) -> None:
        self._map = registers
        self._interval_s = interval_s
        self._rated_power_kw = rated_power_kw
        self._rules = _rules(registers, gap_registers)
        self._parameters: Mapping[str, float] = {}
        self._targets: tuple[Target, ...] = ()
        self._cuts: set[Cut] = set()
        self._by_rates: dict[tuple[float, ...], tuple[Request, ...]] = {}
        self._efficiency: PlanEfficiency | None = None
        self.placed = False
        """Whether the address of every point is known."""
        self.unsupported: tuple[str, ...] = ()
        """Quantities whose SunSpec model this device does not have, or has where it must not be read."""
        self.rates_s: tuple[float, ...] = tuple(
            sorted(
                {p.interval_s for p in registers.delivered if p.interval_s is not None and p.interval_s > interval_s}
            )
        )
        """Intervals slower than the poll's [s]."""
        self.identity: tuple[IdentityRegister, ...] = registers.identity
        """Where the device says who it is; a SunSpec device's common model is known once it is placed."""
        self.walks = bool(registers.sunspec) or any(point.model is not None for point in registers.points)
        """Whether the models have to be looked for in the device."""
        _check_settings(registers, self._rules.forbidden)
        self._try_out()
        self.placed = not self.walks

    def place(self, models: Mapping[int, int]) -> bool:
        """Give every point its address by where the device's models stand; return whether any point has one.

        A point that stands where this device must not be read is unsupported, like one whose model is not there.
        """
        resolved = resolve(self._map.sunspec, models)
        found = {point.quantity for point in resolved}
        self.identity = (*self._map.identity, *(identity_of(models) if self.walks else ()))
        targets, absent = place_points((*self._map.points, *resolved), models)
        absent += tuple(each.quantity for each in self._map.sunspec if each.quantity not in found)
        barred = {target.point.quantity for target in targets if why_unreadable(target, self._rules)}
        self._targets = tuple(target for target in targets if target.point.quantity not in barred)
        self.unsupported = (*absent, *sorted(barred))
        self.placed = bool(self._targets)
        self._plan_anew()
        return self.placed

    def forget_places(self) -> None:
        """The models have to be looked for again."""
        self.placed = False

    def requests(self, rates_s: tuple[float, ...]) -> tuple[Request, ...]:
        """Return the requests for the points of every poll and for those of the slower `rates_s` [s]."""
        known = self._by_rates.get(rates_s)
        if known is None:
            due = [each for each in self._targets if self._is_due(each, rates_s)]
            known = self._by_rates[rates_s] = tuple(self._request(block) for block in self._blocks(due))
        return known

    def settle(self, parameters: Mapping[str, float]) -> None:
        """Take over what the device's own parameters are now, by name; one that is absent is not known.

        Decoders are made anew only when something changed; blocks do not depend on parameters.
        """
        if parameters != self._parameters:
            self._parameters = dict(parameters)
            self._by_rates.clear()

    def efficiency(self) -> PlanEfficiency:
        """Return what a poll costs in which all rates are due, against what it wants.

        Until the device's SunSpec models are found it is reckoned as if no read could join two of them.
        """
        if self._efficiency is None:
            blocks = [request.block for request in self.requests(self.rates_s)]
            wanted = registers_wanted(self._targets)
            self._efficiency = PlanEfficiency(len(blocks), wanted, sum(block.count for block in blocks))
        return self._efficiency

    def halves(self, request: Request) -> list[Request]:
        """Return the parts of a block that the device refused as a whole; none when it cannot be made smaller."""
        block = request.block
        address = split_address(block, self._rules)
        if address is None:
            return []
        cuts = (*request.cuts, (block.table, address))
        lower = [target for target in block.targets if self._rules.extent(target)[0] < address]
        upper = [target for target in block.targets if self._rules.extent(target)[0] >= address]
        return [self._request(part, cuts) for half in (lower, upper) for part in self._blocks(half)]

    def learn(self, cuts: Sequence[Cut]) -> None:
        """Never read across these places again."""
        if not self._cuts.issuperset(cuts):
            self._cuts.update(cuts)
            self._plan_anew()

    def _try_out(self) -> None:
        """Plan and compile everything once, so that a map that cannot be read is refused before anything starts."""
        if not self.walks:
            self._targets, _ = place_points(self._map.points, {})
            self.requests(self.rates_s)
            return
        plan_blocks(place_points(self._map.points, {})[0], self._rules)
        # Distances inside a model do not depend on where it stands; what is forbidden does, and is left for later.
        rules = replace(self._rules, forbidden=Forbidden())
        for models in _model_sets(self._map):
            points = [*self._map.points, *resolve(self._map.sunspec, dict.fromkeys(models, 0))]
            targets, _ = place_points(points, _made_up_places(points))
            for block in plan_blocks(targets, rules):
                self._request(block)
        preferred = [*self._map.points, *resolve(self._map.sunspec, dict.fromkeys(_named_models(self._map), 0))]
        self.place(_made_up_places(preferred))

    def _plan_anew(self) -> None:
        self._by_rates.clear()
        self._efficiency = None

    def _is_due(self, target: Target, rates_s: tuple[float, ...]) -> bool:
        interval_s = target.point.interval_s
        return interval_s is None or interval_s <= self._interval_s or interval_s in rates_s

    def _blocks(self, targets: Sequence[Target]) -> tuple[Block, ...]:
        return plan_blocks(targets, self._rules, self._cuts)

    def _request(self, block: Block, cuts: tuple[Cut, ...] = ()) -> Request:
        return request_for(block, self._map, self._rated_power_kw, self._parameters, cuts)


def _rules(registers: ModbusMap, gap_registers: int | None) -> Rules:
    written = "max_gap_registers" in registers.model_fields_set or gap_registers is None
    return Rules(
        max_registers=registers.max_registers,
        max_gap_registers=registers.max_gap_registers if written else gap_registers or 0,
        align_registers=registers.align_registers,
        forbidden=Forbidden(registers.forbidden),
        one_point_per_request=registers.one_point_per_request,
    )


def _check_settings(registers: ModbusMap, forbidden: Forbidden) -> None:
    """Raise ValueError when a parameter or the device's identity stands where nothing may be read."""
    settings = [
        (f"parameter {each.name}", each.table, each.address, each.type.registers) for each in registers.parameters
    ]
    settings += [(f"identity {each.what}", each.table, each.address, each.length) for each in registers.identity]
    for name, table, address, length in settings:
        barred = forbidden.within(table, address, address + length)
        if barred is not None:
            raise ValueError(
                f"{name} stands in registers {barred[0]}..{barred[1]}, which are forbidden in table {table}"
            )


def _named_models(registers: ModbusMap) -> list[int]:
    return sorted({number for each in registers.sunspec for number in each.names})


def _model_sets(registers: ModbusMap) -> list[list[int]]:
    """Return sets of SunSpec models that together show every point in every model that may carry it."""
    return [[number] for number in _named_models(registers)] or [[]]


def _made_up_places(points: Sequence[ModbusPoint]) -> dict[int, int]:
    """Return a place for each SunSpec model, so far from each other that no read joins two, and inside one table."""
    lengths: dict[int, int] = {}
    for point in points:
        if point.model is not None:
            scale = point.scale_register.offset if point.scale_register and point.scale_register.offset else 0
            end = max((point.offset or 0) + point.type.registers, scale + 1)
            lengths[point.model] = max(lengths.get(point.model, 0), end)
    places: dict[int, int] = {}
    at = 0
    for model in sorted(lengths):
        places[model] = at
        at += lengths[model] + 2 * _MOST_REGISTERS
    return places
