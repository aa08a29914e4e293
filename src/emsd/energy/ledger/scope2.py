"""Scope 2 of purchased electricity, slot by slot, by both methods (GHG Protocol Scope 2 Guidance, 2015).

location   energy from the grid x factor of the grid
market     energy covered by certificates, then by contracts, each x its own factor; of the rest by the factor that the
           supplier states, else by the residual mix, else, where that is not known, by the factor of the grid

Own PV that was used on site emits nothing in either, as long as its certificates are not sold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal, TypeAlias

from emsd.energy.ledger.exact import CONTEXT
from emsd.energy.ledger.inputs import LedgerInputs, MeterRole
from emsd.energy.ledger.matching import Matched, match, sold_pv

__all__ = ["LEVELS", "Level", "Scope2", "Slot", "scope2"]

Level: TypeAlias = Literal["certificate", "contract", "supplier", "residual", "location", "none"]
LEVELS: Final[tuple[Level, ...]] = ("certificate", "contract", "supplier", "residual", "location", "none")
_ZERO: Final = Decimal(0)


@dataclass(slots=True)
class Slot:
    """Energy [kWh] and emissions [kg] of one slot; None is unknown.

    estimated_...         the part of it that was not measured
    due_s, known_s, ...   of each meter, added up; see `emsd.energy.ledger.inputs.EnergyColumn`
    is_export_metered     whether any grid meter counts what leaves the site, now or at another time of the period
    """

    import_kwh: Decimal | None
    export_kwh: Decimal | None
    generation_kwh: Decimal | None
    estimated_import_kwh: Decimal
    estimated_export_kwh: Decimal
    estimated_generation_kwh: Decimal
    due_s: Decimal
    known_s: Decimal
    covered_s: Decimal
    generation_due_s: Decimal
    generation_covered_s: Decimal
    is_export_metered: bool
    location_kg: Decimal | None = None
    market_kg: Decimal = _ZERO
    avoided_kg: Decimal | None = None
    sold_pv_kwh: Decimal = _ZERO
    by_level_kwh: dict[Level, Decimal] = field(default_factory=lambda: dict.fromkeys(LEVELS, _ZERO))

    @property
    def pv_used_kwh(self) -> Decimal | None:
        """Yield of own PV less what went to the grid [kWh]; unknown where that is metered, but not known now."""
        if self.generation_kwh is None or (self.export_kwh is None and self.is_export_metered):
            return None
        return max(_ZERO, self.generation_kwh - (self.export_kwh or _ZERO))

    @property
    def estimated_part(self) -> Decimal:
        """Share 0..1 of the import that was not measured."""
        if not self.import_kwh or not self.estimated_import_kwh:
            return _ZERO
        return CONTEXT.divide(self.estimated_import_kwh, self.import_kwh)


@dataclass(slots=True)
class Scope2:
    """All slots, what each instrument covers, and the number of meters behind them."""

    slots: list[Slot]
    matched: list[Matched]
    grid_meters: int
    generation_meters: int


def scope2(inputs: LedgerInputs) -> Scope2:
    """Return Scope 2 of every slot of the inputs by both methods."""
    slots = _energy(inputs)
    for place, slot in enumerate(slots):
        factor = inputs.location.kg_per_kwh[place]
        if factor is not None and slot.import_kwh is not None:
            slot.location_kg = slot.import_kwh * factor
    uncovered = [slot.import_kwh or _ZERO for slot in slots]
    matched = [*match(inputs, "certificate", uncovered), *match(inputs, "contract", uncovered)]
    for each in matched:
        for place, kwh in each.by_slot.items():
            slots[place].by_level_kwh[each.instrument.level] += kwh
            slots[place].market_kg += kwh * each.instrument.kg_per_kwh
    for place, kwh in enumerate(uncovered):
        _by_factor(inputs, slots[place], place, kwh, ("supplier", "residual", "location"))
    _pv(inputs, slots)
    return Scope2(slots, matched, _count(inputs, "grid"), _count(inputs, "generation"))


def _energy(inputs: LedgerInputs) -> list[Slot]:
    grid, generation = inputs.grid, inputs.generation
    is_export_metered = any(each is not None for each in grid.export_kwh)
    return [
        Slot(
            import_kwh=grid.import_kwh[place],
            export_kwh=grid.export_kwh[place],
            generation_kwh=generation.export_kwh[place],
            estimated_import_kwh=grid.estimated_import_kwh[place],
            estimated_export_kwh=grid.estimated_export_kwh[place],
            estimated_generation_kwh=generation.estimated_export_kwh[place],
            due_s=grid.due_s[place],
            known_s=grid.known_s[place],
            covered_s=grid.covered_s[place],
            generation_due_s=generation.due_s[place],
            generation_covered_s=generation.covered_s[place],
            is_export_metered=is_export_metered,
        )
        for place in range(len(inputs.edges) - 1)
    ]


def _by_factor(inputs: LedgerInputs, slot: Slot, place: int, kwh: Decimal, levels: Iterable[Level]) -> None:
    """Add energy to a slot's market-based emissions with the first factor that is known of these levels."""
    columns = {"supplier": inputs.supplier, "residual": inputs.residual, "location": inputs.location}
    for level in levels:
        factor = columns[level].kg_per_kwh[place]
        if factor is not None:
            slot.by_level_kwh[level] += kwh
            slot.market_kg += kwh * factor
            return
    slot.by_level_kwh["none"] += kwh


def _pv(inputs: LedgerInputs, slots: list[Slot]) -> None:
    used = [slot.pv_used_kwh for slot in slots]
    for place, sold in enumerate(sold_pv(inputs, [kwh or _ZERO for kwh in used])):
        slot = slots[place]
        if sold:
            slot.sold_pv_kwh = sold
            _by_factor(inputs, slot, place, sold, ("residual", "location"))
        kwh, factor = used[place], inputs.location.kg_per_kwh[place]
        if kwh is not None and factor is not None:
            slot.avoided_kg = (kwh - sold) * factor


def _count(inputs: LedgerInputs, role: MeterRole) -> int:
    return sum(meter.role == role for meter in inputs.meters)
