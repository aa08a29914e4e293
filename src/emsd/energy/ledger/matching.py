"""Which certificate or contract covers which kilowatt-hour.

An allocation counts in a ledger with the share of its time that lies in the ledger's: of the period that it was retired
for, or with hourly matching of that part of it in which it was produced. Within it, it covers use in proportion to what
is not covered yet, and what exceeds the use is surplus: it covers nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from emsd.energy.ledger.exact import CONTEXT
from emsd.energy.ledger.inputs import Allocation, Instrument, InstrumentLevel, LedgerInputs

__all__ = ["Matched", "match", "sold_pv"]

ZERO: Final = Decimal(0)
_HOUR: Final = timedelta(hours=1)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(slots=True)
class Matched:
    """What one instrument covers.

    available_kwh  allocated to the ledger's period
    by_slot        covered use [kWh] by place of the slot
    reason         why it covers nothing at all, where that is so
    """

    instrument: Instrument
    available_kwh: Decimal = ZERO
    by_slot: dict[int, Decimal] = field(default_factory=dict)
    reason: str = ""

    @property
    def matched_kwh(self) -> Decimal:
        """Covered use [kWh]."""
        return sum(self.by_slot.values(), ZERO)


def match(inputs: LedgerInputs, level: InstrumentLevel, uncovered_kwh: list[Decimal]) -> list[Matched]:
    """Cover use by the retired instruments of a level, the oldest production first; `uncovered_kwh` is what is left.

    With hourly matching an instrument covers only use in its hour of production, so one that was produced over
    more than an hour covers nothing.
    """
    found = []
    instruments = [each for each in inputs.instruments if each.level == level and not each.own_pv]
    for instrument in sorted(instruments, key=lambda each: (each.produced_from, each.instrument_id)):
        retired = [each for each in instrument.allocations if each.kind == "retire"]
        matched = Matched(instrument)
        is_too_coarse = inputs.matching == "hourly" and instrument.produced_to - instrument.produced_from > _HOUR
        for allocation in retired:
            from_, to = _time_of(inputs, instrument, allocation)
            is_elsewhere = from_ >= to
            if is_elsewhere:
                from_, to = allocation.period_from, allocation.period_to
            available = _in_period(allocation.energy_kwh, from_, to, inputs)
            matched.available_kwh += available
            if is_too_coarse:
                matched.reason = "was produced over more than an hour, and matching is hourly"
            elif is_elsewhere:
                matched.reason = "was produced outside the period that it was retired for, and matching is hourly"
            else:
                _cover(matched.by_slot, available, _inside(inputs.edges, from_, to), uncovered_kwh)
        if retired:
            found.append(matched)
    return found


def sold_pv(inputs: LedgerInputs, used_kwh: Sequence[Decimal]) -> list[Decimal]:
    """Return by slot the PV used on site whose certificates were sold [kWh]; it is not zero-carbon any more.

    A sold certificate goes back to its time of production, and takes at most the PV that was used then (GHG Protocol
    Scope 2 Guidance, chapter 6: energy whose attributes were sold carries the residual mix).
    """
    left = list(used_kwh)
    sold: dict[int, Decimal] = {}
    for instrument in inputs.instruments:
        if not instrument.own_pv:
            continue
        slots = _inside(inputs.edges, instrument.produced_from, instrument.produced_to)
        for allocation in instrument.allocations:
            if allocation.kind == "sell":
                kwh = _in_period(allocation.energy_kwh, instrument.produced_from, instrument.produced_to, inputs)
                _cover(sold, kwh, slots, left)
    return [sold.get(place, ZERO) for place in range(len(left))]


def _in_period(energy_kwh: Decimal, from_: datetime, to: datetime, inputs: LedgerInputs) -> Decimal:
    overlap = min(to, inputs.period_to) - max(from_, inputs.period_from)
    if overlap <= timedelta(0):
        return ZERO
    part, whole = Decimal(overlap // _MICROSECOND), Decimal((to - from_) // _MICROSECOND)
    return CONTEXT.divide(CONTEXT.multiply(energy_kwh, part), whole)


def _time_of(inputs: LedgerInputs, instrument: Instrument, allocation: Allocation) -> tuple[datetime, datetime]:
    """Return the time whose use an allocation covers."""
    from_, to = allocation.period_from, allocation.period_to
    if inputs.matching == "hourly":
        return max(from_, instrument.produced_from), min(to, instrument.produced_to)
    return from_, to


def _inside(edges: Sequence[datetime], from_: datetime, to: datetime) -> range:
    """Return the places of the slots that lie in [from_, to)."""
    first = bisect_left(edges, from_)
    return range(first, max(first, bisect_right(edges, to) - 1))


def _cover(by_slot: dict[int, Decimal], available_kwh: Decimal, slots: range, uncovered_kwh: list[Decimal]) -> None:
    total = sum((uncovered_kwh[place] for place in slots), ZERO)
    if total <= 0 or available_kwh <= 0:
        return
    for place in slots:
        whole = uncovered_kwh[place]
        covered = whole
        if available_kwh < total:
            covered = CONTEXT.divide(CONTEXT.multiply(available_kwh, whole), total)
        by_slot[place] = by_slot.get(place, ZERO) + covered
        uncovered_kwh[place] = whole - covered
