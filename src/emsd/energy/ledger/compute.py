"""From the inputs of a ledger to its figures: a pure function, in decimal arithmetic, the same on every machine."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, localcontext
from typing import Final

from emsd.energy.ledger import scope1
from emsd.energy.ledger.exact import CONTEXT, figure, share
from emsd.energy.ledger.inputs import LedgerInputs, Month
from emsd.energy.ledger.matching import Matched
from emsd.energy.ledger.results import Figures, InstrumentFigure, LedgerResults
from emsd.energy.ledger.scope2 import LEVELS, Level, Scope2, Slot, scope2

__all__ = ["compute"]

_ZERO: Final = Decimal(0)
_WORTH_SAYING: Final = Decimal("0.5")
"""Less than half a kilowatt-hour is what rounding leaves."""
_TRUSTED: Final = Decimal("0.9")
"""Totals of a month are trusted from this coverage on (OpenDSM, sufficiency criteria)."""

_COMPLETE: Final = Decimal("0.999")
"""The last quarter of an hour of a running month is not computed yet."""


def compute(inputs: LedgerInputs) -> LedgerResults:
    """Return all figures of a ledger."""
    with localcontext(CONTEXT):
        electricity = scope2(inputs)
        months = [
            _figures(month.name, slots, electricity, scope1.kg_between(inputs, month.begins_at, month.ends_at))
            for month, slots in _by_month(inputs, electricity.slots)
        ]
        total_scope1 = scope1.kg_between(inputs, inputs.period_from, inputs.period_to)
        total = _figures("total", electricity.slots, electricity, total_scope1)
        return LedgerResults(
            total=total,
            months=tuple(months),
            scope1=scope1.gases(inputs),
            scope1_by_area=scope1.areas(inputs),
            instruments=tuple(_instrument(each) for each in electricity.matched),
            missing=tuple(_missing(inputs, total, months, electricity)),
        )


def _by_month(inputs: LedgerInputs, slots: Sequence[Slot]) -> Iterator[tuple[Month, Sequence[Slot]]]:
    for month in inputs.months:
        yield month, slots[bisect_left(inputs.edges, month.begins_at) : bisect_left(inputs.edges, month.ends_at)]


def _figures(name: str, slots: Sequence[Slot], electricity: Scope2, scope1_kg: Decimal | None) -> Figures:
    imported = _sum(slot.import_kwh for slot in slots)
    exported = _sum(slot.export_kwh for slot in slots)
    generated = _sum(slot.generation_kwh for slot in slots)
    pv_used = _sum(slot.pv_used_kwh for slot in slots)
    load = imported if not electricity.generation_meters else _plus_known(imported, pv_used)
    sold = sum((slot.sold_pv_kwh for slot in slots), _ZERO)
    renewable = _of_level(slots, "certificate") + (_ZERO if pv_used is None else pv_used - sold)
    return Figures(
        name=name,
        grid_import_kwh=_rounded(imported),
        grid_export_kwh=_rounded(exported),
        generation_kwh=_rounded(generated),
        pv_used_kwh=_rounded(pv_used),
        load_kwh=_rounded(load),
        **_quality(slots, imported, exported),
        scope1_kg=_rounded(scope1_kg),
        **_emissions(slots, imported),
        sold_pv_kwh=figure(sold),
        avoided_kg=_rounded(_sum(slot.avoided_kg for slot in slots)),
        self_consumption=_ratio(pv_used, generated),
        self_sufficiency=_ratio(pv_used, load),
        renewable_coverage=_ratio(renewable, load),
    )


def _quality(slots: Sequence[Slot], imported: Decimal | None, exported: Decimal | None) -> dict[str, Decimal | None]:
    """Say how much of the figures was measured, and how much was estimated."""
    due = _total(slot.due_s for slot in slots)
    estimated_import = _total(slot.estimated_import_kwh for slot in slots)
    estimated_export = _total(slot.estimated_export_kwh for slot in slots)
    parts = [(slot.estimated_part, slot) for slot in slots]
    return {
        "coverage": share(_total(slot.covered_s for slot in slots), due),
        "generation_coverage": share(
            _total(slot.generation_covered_s for slot in slots), _total(slot.generation_due_s for slot in slots)
        ),
        "completeness": share(_total(slot.known_s for slot in slots), due),
        "estimated_share": _ratio(estimated_import + estimated_export, _plus_known(imported, exported or _ZERO)),
        "estimated_import_kwh": figure(estimated_import),
        "estimated_export_kwh": figure(estimated_export),
        "estimated_generation_kwh": figure(_total(slot.estimated_generation_kwh for slot in slots)),
        "estimated_location_kg": figure(_total(part * (slot.location_kg or _ZERO) for part, slot in parts)),
        "estimated_market_kg": figure(_total(part * slot.market_kg for part, slot in parts)),
    }


def _emissions(slots: Sequence[Slot], imported: Decimal | None) -> dict[str, Decimal | None]:
    """Return Scope 2 by both methods, with the energy behind each level of the market-based one."""
    with_factor = _total(slot.import_kwh or _ZERO for slot in slots if slot.location_kg is not None)
    levels = {level: _of_level(slots, level) for level in LEVELS}
    charged = _total(levels.values())
    is_market_known = imported is not None and (charged == 0 or levels["none"] < charged)
    return {
        "location_kg": _rounded(_sum(slot.location_kg for slot in slots)),
        "location_coverage": _ratio(with_factor, imported),
        "market_kg": figure(_total(slot.market_kg for slot in slots)) if is_market_known else None,
        "market_coverage": share(charged - levels["none"], charged),
        **{f"{level}_kwh": figure(kwh) for level, kwh in levels.items() if level != "none"},
        "without_factor_kwh": figure(levels["none"]),
    }


def _of_level(slots: Sequence[Slot], level: Level) -> Decimal:
    return _total(slot.by_level_kwh[level] for slot in slots)


def _instrument(matched: Matched) -> InstrumentFigure:
    instrument = matched.instrument
    return InstrumentFigure(
        instrument_id=instrument.instrument_id,
        registry=instrument.registry,
        serial=instrument.serial,
        level=instrument.level,
        available_kwh=figure(matched.available_kwh),
        matched_kwh=figure(matched.matched_kwh),
        surplus_kwh=figure(matched.available_kwh - matched.matched_kwh),
        kg_co2e=figure(matched.matched_kwh * instrument.kg_per_kwh),
        reason=matched.reason,
    )


def _missing(inputs: LedgerInputs, total: Figures, months: Sequence[Figures], electricity: Scope2) -> Iterator[str]:
    """Say in words what is not in the figures, or not known well enough."""
    if not electricity.grid_meters:
        yield "electricity: the site has no energy meter, so Scope 2 is unknown"
    for month in months:
        yield from _missing_of_month(inputs, month, electricity)
    if electricity.generation_meters and total.grid_export_kwh is None:
        yield "own PV: no meter counts what leaves the site, so all of its yield is taken as used on site"
    if total.location_kwh >= _WORTH_SAYING:
        yield (
            f"residual factor of {inputs.site.residual_region}: none for {total.location_kwh:,.0f} kWh; the"
            " location-based factor stands in for it"
        )
    if total.without_factor_kwh >= _WORTH_SAYING:
        yield f"market-based: {total.without_factor_kwh:,.0f} kWh have no factor of any kind"
    for matched in electricity.matched:
        surplus = matched.available_kwh - matched.matched_kwh
        if surplus >= _WORTH_SAYING:
            why = matched.reason or "exceeds the use in its period"
            yield f"{matched.instrument.kind} {matched.instrument.serial}: {surplus:,.0f} kWh cover nothing: it {why}"


def _missing_of_month(inputs: LedgerInputs, month: Figures, electricity: Scope2) -> Iterator[str]:
    if electricity.grid_meters and (month.coverage or _ZERO) < _TRUSTED:
        yield f"electricity: {month.name} is measured {_percent(month.coverage)} of the time"
    if electricity.grid_meters and (month.completeness or _ZERO) < _COMPLETE:
        known = _percent(month.completeness)
        yield f"electricity: {month.name} is known for {known} of the time; the rest is in no figure"
    if month.estimated_import_kwh >= _WORTH_SAYING:
        yield (
            f"electricity: {month.name} holds {month.estimated_import_kwh:,.0f} kWh from the grid that were estimated,"
            f" {_percent(_ratio(month.estimated_import_kwh, month.grid_import_kwh))} of it"
        )
    if electricity.generation_meters and (month.generation_coverage or _ZERO) < _TRUSTED:
        yield f"own PV: {month.name} is measured {_percent(month.generation_coverage)} of the time"
    if month.location_coverage is not None and month.location_coverage < 1:
        yield (
            f"location-based factor of {inputs.site.carbon_region}: {month.name} has one for "
            + _percent(month.location_coverage)
            + " of its energy"
        )
    if month.scope1_kg is None:
        yield f"Scope 1: no activity of {month.name} was entered"


def _percent(value: Decimal | None) -> str:
    return f"{100 * (value or _ZERO):.1f} %"


def _sum(values: Iterable[Decimal | None]) -> Decimal | None:
    """Sum of what is known; None when nothing is."""
    known = [value for value in values if value is not None]
    return sum(known, _ZERO) if known else None


def _total(values: Iterable[Decimal]) -> Decimal:
    return sum(values, _ZERO)


def _plus_known(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else one + other


def _rounded(value: Decimal | None) -> Decimal | None:
    return None if value is None else figure(value)


def _ratio(part: Decimal | None, whole: Decimal | None) -> Decimal | None:
    return None if part is None or whole is None else share(part, whole)
