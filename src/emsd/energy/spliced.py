"""One counter through the events of its meter.

    samples and manual readings, without what is held out
      `- cut at every swap and reset, final and initial readings at the cut --> counters.increments of each piece
           `- times the ratio of the current transformers, split where it changes

No piece knows of another, so nothing that a new device shows is ever taken for energy. Where nobody read the last value
of the old device or the first of the new one, the energy between the cut and the nearest sample is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from emsd.energy.clock import marked_held_out
from emsd.energy.counters import CounterRules, increments
from emsd.energy.events import CounterName, EventKind, MeterEvent, Ratio, ratio_of
from emsd.energy.series import BoolArray, FloatArray, IncrementFlag, Increments, TimeArray, usable_samples

__all__ = ["spliced_increments"]

_SHOWN_KWH: Final = 1.0
"""What a person reads off a display has whole kWh [kWh]: a final reading may lie so far below the last sample."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where one device or life of the counter ends and the next begins.

    place    number of samples before it
    time_us  when [us], after those samples and not after the next one
    """

    place: int
    time_us: int
    final_kwh: float | None
    initial_kwh: float | None
    flag: IncrementFlag


def spliced_increments(
    time_us: TimeArray,
    counter_kwh: FloatArray,
    rules: CounterRules,
    counter: CounterName,
    events: Sequence[MeterEvent],
    held_out: BoolArray | None = None,
) -> Increments:
    """Return the energy between successive good samples of one counter, as it flowed; a part gives what a whole does.

    time_us, counter_kwh  as of `increments`
    events                of the meter, those that count, in order of time
    held_out              bool[n], samples that are left out; None: none

    Raises ValueError when the times descend.
    """
    held_us = np.empty(0, dtype=np.int64)
    if held_out is not None:
        held_us = time_us[held_out & np.isfinite(counter_kwh)]
        time_us, counter_kwh = time_us[~held_out], counter_kwh[~held_out]
    times, values = _with_manual_readings(*usable_samples(time_us, counter_kwh), events, counter)
    ratio = ratio_of(events)
    cuts = _cuts(times, values, events, counter)
    bounds: list[_Cut | None] = [None, *cuts, None]
    pieces = [_piece(times, values, opening, closing, rules, ratio) for opening, closing in pairwise(bounds)]
    whole = Increments.joined(pieces, pending=pieces[-1].pending)
    whole = marked_held_out(whole, held_us, times)
    return whole if ratio is None else _multiplied(whole, ratio)


def _with_manual_readings(
    times: TimeArray, values: FloatArray, events: Iterable[MeterEvent], counter: CounterName
) -> tuple[TimeArray, FloatArray]:
    """Put in what people read; a sample of the same instant counts more."""
    read = {event.at_us: value for event in events if (value := event.reading.of(counter)) is not None}
    if not read:
        return times, values
    read_us = np.array(sorted(read), dtype=np.int64)
    all_us, first = np.unique(np.concatenate((times, read_us)), return_index=True)
    return all_us, np.concatenate((values, [read[at] for at in read_us.tolist()]))[first]


def _cuts(times: TimeArray, values: FloatArray, events: Iterable[MeterEvent], counter: CounterName) -> list[_Cut]:
    cuts: list[_Cut] = []
    for event in sorted((each for each in events if each.cuts), key=lambda each: (each.boundary_us, each.at_us)):
        is_reset = event.kind is EventKind.RESET
        final_kwh, initial_kwh = event.final.of(counter), 0.0 if is_reset else event.initial.of(counter)
        place = int(np.searchsorted(times, event.boundary_us))
        at_us = _between(times, values, place, event.at_us, final_kwh, initial_kwh)
        cuts.append(
            _Cut(
                place,
                max(at_us, cuts[-1].time_us) if cuts else at_us,
                final_kwh,
                initial_kwh,
                IncrementFlag.RESET if is_reset else IncrementFlag.SWAP,
            )
        )
    return cuts


def _between(
    times: TimeArray, values: FloatArray, place: int, at_us: int, final_kwh: float | None, initial_kwh: float | None
) -> int:
    """Return when a cut is [us], given how many samples lie before it.

    A written time between the samples on either side is taken. Any other is wrong; then power was the same before and
    after the cut, or it was half-way where the readings do not tell.
    """
    before_us = int(times[place - 1]) if place else None
    after_us = int(times[place]) if place < times.size else None
    if before_us is None:
        return at_us if after_us is None else min(at_us, after_us - 1)
    if after_us is None:
        return max(at_us, before_us + 1)
    if before_us < at_us < after_us:
        return at_us
    share = 0.5
    if final_kwh is not None and initial_kwh is not None:
        ended, begun = final_kwh - values[place - 1], values[place] - initial_kwh
        if ended >= 0 and begun >= 0 and ended + begun > 0:
            share = ended / (ended + begun)
    return min(max(before_us + round(share * (after_us - before_us)), before_us + 1), max(after_us - 1, before_us + 1))


def _piece(
    times: TimeArray,
    values: FloatArray,
    opening: _Cut | None,
    closing: _Cut | None,
    rules: CounterRules,
    ratio: Ratio | None,
) -> Increments:
    """Return what one device, or one life of its counter, counted between two cuts."""
    within = slice(opening.place if opening else 0, closing.place if closing else None)
    times, values = times[within], values[within]
    if opening and opening.initial_kwh is not None and not (times.size and times[0] == opening.time_us):
        times = np.concatenate(([opening.time_us], times))
        values = np.concatenate(([opening.initial_kwh], values))
    if closing and closing.final_kwh is not None and not (times.size and times[-1] == closing.time_us):
        final_kwh = closing.final_kwh
        if values.size and values[-1] - _SHOWN_KWH <= final_kwh < values[-1]:
            final_kwh = values[-1]
        times = np.concatenate((times, [closing.time_us]))
        values = np.concatenate((values, [final_kwh]))
    counted = increments(times, values, rules, ratio, is_whole=False)
    if opening:
        counted = _opened(counted, opening, times, rules)
    return _closed(counted, closing, opening, times, rules) if closing else counted


def _opened(counted: Increments, cut: _Cut, times: TimeArray, rules: CounterRules) -> Increments:
    """Flag the first stretch after a cut; unknown is its energy where nobody read, or the reading cannot be."""
    if times.size and times[0] > cut.time_us:
        unknown = _unknown(cut.time_us, int(times[0]), cut.flag, rules)
        return Increments.joined((unknown, counted), pending=counted.pending)
    if not counted.flags.size:
        return counted
    flags, energy_kwh = counted.flags.copy(), counted.energy_kwh
    if flags[0] & IncrementFlag.RESET:
        # A reading that was written down is no proof that the counter restarted.
        energy_kwh = energy_kwh.copy()
        energy_kwh[0], flags[0] = np.nan, IncrementFlag.STEP
    flags[0] |= cut.flag
    return Increments(counted.start_us, counted.end_us, energy_kwh, counted.estimated, flags, counted.pending)


def _closed(counted: Increments, cut: _Cut, opening: _Cut | None, times: TimeArray, rules: CounterRules) -> Increments:
    """Let a piece end at its cut; what nobody can judge any more is unknown."""
    if counted.end_us.size:
        ends_us = int(counted.end_us[-1])
    elif times.size:
        ends_us = int(times[0])
    elif opening:
        ends_us = opening.time_us
    else:
        return counted
    if ends_us < cut.time_us:
        flag = cut.flag if opening is None or ends_us > opening.time_us else cut.flag | opening.flag
        return Increments.joined((counted, _unknown(ends_us, cut.time_us, flag, rules)), pending=False)
    flags = counted.flags.copy()
    flags[-1:] |= np.uint8(cut.flag)
    return Increments(counted.start_us, counted.end_us, counted.energy_kwh, counted.estimated, flags)


def _unknown(start_us: int, end_us: int, flag: IncrementFlag, rules: CounterRules) -> Increments:
    return Increments(
        np.array([start_us], dtype=np.int64),
        np.array([end_us], dtype=np.int64),
        np.full(1, np.nan),
        np.array([end_us - start_us > rules.max_gap_us]),
        np.array([flag | IncrementFlag.STEP], dtype=np.uint8),
    )


def _multiplied(shown: Increments, ratio: Ratio) -> Increments:
    """Multiply energy by the ratio; a stretch in which it changes is split there, its energy evenly spread over it."""
    start_us, end_us, energy, estimated = shown.start_us, shown.end_us, shown.energy_kwh, shown.estimated
    flags = shown.flags
    for at_us in ratio.at_us.tolist():
        place = int(np.searchsorted(start_us, at_us)) - 1
        if place < 0 or at_us >= end_us[place]:
            continue
        before = energy[place] * ((at_us - start_us[place]) / (end_us[place] - start_us[place]))
        energy = np.insert(energy, place, before)
        energy[place + 1] -= before
        start_us, end_us = np.insert(start_us, place + 1, at_us), np.insert(end_us, place, at_us)
        estimated, flags = np.insert(estimated, place, estimated[place]), np.insert(flags, place, flags[place])
    return Increments(start_us, end_us, energy * ratio.at(start_us), estimated, flags, shown.pending)
