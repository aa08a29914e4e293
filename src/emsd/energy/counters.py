"""From the readings of an energy counter to energy.

A counter is a promise that breaks in known ways: it rolls over, restarts, reads 0 for one poll while its device
boots, dips by a count, or jumps because a register was misread. Each of these looks like energy to a rule that
only compares two neighbours. Readings 1000, 0, 1010, 1020 are 20 kWh, but Home Assistant, Prometheus and
TimescaleDB's counter_agg all say 1020. Therefore a sample that does not continue the track of the last good one
(the base) is held, and the samples after it say what it was:

    the counter returns to the base's track   glitch or dip: held samples are left out, the energy is kept
    it goes on from the held sample           restart (RESET), or a move that is no energy (STEP)
    the series ends                           pending: nothing is counted yet

Samples that a wrong clock has put too late look like a move downwards that goes on as a counter does. In a whole series
those that stand after a jump of the counter, with values inside of it, are left out (see `clock`).

`increments` looks at no more than CONTEXT_SAMPLES usable samples after a base before it decides. So a part of a
series gives the same result as the whole, for every stretch that begins

    - not before the last of `hold_samples` successive samples that continue each other (each not below the one
      before, by a plausible amount), and
    - at a sample that CONTEXT_SAMPLES usable samples follow, or none in the whole series either.

Read CONTEXT_SAMPLES usable samples before and after the time that is wanted: the statement then holds for all of
it, unless the samples before are so broken that no `hold_samples` successive ones are sound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from emsd.energy.clock import marked_held_out, told_before
from emsd.energy.counter_rules import CONTEXT_SAMPLES, Allowance, CounterRules, allowance_of
from emsd.energy.events import Ratio
from emsd.energy.series import (
    BoolArray,
    FloatArray,
    IncrementFlag,
    Increments,
    TimeArray,
    usable_samples,
)

__all__ = ["CONTEXT_SAMPLES", "CounterRules", "increments", "overtaken"]

# A drop to less than this share of the base is a restart, a smaller one a dip. Source: Home Assistant,
# components/sensor/recorder.py, reset_detected().
RESET_SHARE = 0.9

# A rollover leaves from the last tenth of the range and lands in the first; anything wider cannot be told from
# a restart.
ROLLOVER_SHARE = 0.1


def increments(
    time_us: TimeArray,
    counter_kwh: FloatArray,
    rules: CounterRules,
    ratio: Ratio | None = None,
    *,
    is_whole: bool = True,
) -> Increments:
    """Return the energy between successive good samples of one counter, as the counter shows it.

    time_us      int64[n], ascending; of equal times the first wins
    counter_kwh  float64[n] [kWh], NaN where missing
    ratio        what the counter's energy has to be multiplied by; it decides what is plausible, nothing more
    is_whole     leave out what a wrong clock has put too late. Only the whole series can tell; of a part, with False, a
                 `hold_out` event says it

    Raises ValueError when the times descend. See the module for the rules and for what the result depends on.
    """
    times, counter = usable_samples(time_us, counter_kwh)
    step_us = times[1:] - times[:-1]
    energy = counter[1:] - counter[:-1]
    clean = energy >= 0
    allowance = allowance_of(times, step_us, rules, ratio)
    if allowance.slope:
        clean &= energy <= allowance.of_steps()
    if clean.all():
        flags = np.zeros(energy.size, dtype=np.uint8)
        return Increments(times[:-1], times[1:], energy, step_us > rules.max_gap_us, flags)

    found = _walked(times, counter, rules, allowance, energy, clean, is_whole=is_whole)
    if isinstance(found, Increments):
        return found
    sound = increments(times[~found], counter[~found], rules, ratio)
    return marked_held_out(sound, times[found], times[~found])


def overtaken(
    time_us: TimeArray, counter_kwh: FloatArray, rules: CounterRules, ratio: Ratio | None = None
) -> tuple[TimeArray, FloatArray]:
    """Return times [us] and values [kWh] of the first samples that a wrong clock has put too late; empty when none are.

    Arguments and errors are those of `increments`, which leaves them out.
    """
    times, counter = usable_samples(time_us, counter_kwh)
    energy = counter[1:] - counter[:-1]
    allowance = allowance_of(times, times[1:] - times[:-1], rules, ratio)
    clean = energy >= 0
    if allowance.slope:
        clean &= energy <= allowance.of_steps()
    found = _walked(times, counter, rules, allowance, energy, clean, is_whole=True)
    return (times[:0], counter[:0]) if isinstance(found, Increments) else (times[found], counter[found])


def _walked(
    times: TimeArray,
    counter: FloatArray,
    rules: CounterRules,
    allowance: Allowance,
    energy: FloatArray,
    clean: BoolArray,
    *,
    is_whole: bool,
) -> Increments | BoolArray:
    """Judge every step that is not clean; return the stretches, or which samples a wrong clock has put too late."""
    first = np.arange(energy.size)
    last = first + 1
    flags = np.zeros(energy.size, dtype=np.uint8)
    keep = np.ones(energy.size, dtype=np.bool_)
    track = _Track(times, counter, rules, allowance)
    pending = False
    resume = 0
    for suspect in np.flatnonzero(~clean):
        base = int(suspect)
        if base < resume:
            continue
        verdict = track.judge(base)
        if verdict is None:
            keep[base:] = False
            pending = True
            break
        if is_whole and verdict.flag & IncrementFlag.STEP and counter[verdict.end] < counter[base]:
            told = told_before(times, counter, verdict.end, rules.hold_samples, rules.count_kwh)
            if told is not None:
                return told
        # The verdict's stretch takes the place of the step that leaves the base; the steps under it vanish.
        resume = verdict.end
        last[base], energy[base], flags[base] = verdict.end, verdict.energy_kwh, verdict.flag
        keep[base + 1 : resume] = False
    start_us, end_us = times[first[keep]], times[last[keep]]
    estimated = end_us - start_us > rules.max_gap_us
    return Increments(start_us, end_us, energy[keep], estimated, flags[keep], pending)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The stretch from a base to the sample `end` that becomes the next base."""

    end: int
    energy_kwh: float
    flag: IncrementFlag


@dataclass(frozen=True, slots=True)
class _Track:
    times: TimeArray
    counter: FloatArray
    rules: CounterRules
    allowance: Allowance

    def judge(self, base: int) -> _Verdict | None:
        """Return what follows the base, or None when the samples at hand do not tell."""
        track = base + 1  # where the newest run of samples that continue each other begins
        stop = min(base + CONTEXT_SAMPLES, self.times.size - 1)
        for i in range(base + 1, stop + 1):
            back = self._continues(base, i)
            if back is not None and not (back.flag and i < stop and self._is_above(base, i + 1)):
                return _Verdict(i, back.energy_kwh, back.flag | self._left_out(base, i))
            if i > base + 1 and self._continues(i - 1, i) is None:
                track = i
            if self._is_proved(base, track, i):
                return self._moved(base, track)
        return self._moved(base, track) if stop == base + CONTEXT_SAMPLES else None

    def _is_above(self, base: int, i: int) -> bool:
        return bool(0 <= self.counter[i] - self.counter[base] <= self.allowance.kwh(base, i))

    def _continues(self, base: int, i: int) -> _Verdict | None:
        """Return the step from base to i when it is plausible as such, or over the modulus."""
        delta = float(self.counter[i] - self.counter[base])
        if delta >= 0:
            return _Verdict(i, delta, IncrementFlag.NONE) if self._is_above(base, i) else None
        modulus = self.rules.modulus_kwh
        if modulus is not None:
            delta += modulus
            if 0 <= delta <= min(self.allowance.kwh(base, i), ROLLOVER_SHARE * modulus):
                return _Verdict(i, delta, IncrementFlag.ROLLOVER)
        return None

    def _is_dip(self, base: int, i: int) -> bool:
        return bool(RESET_SHARE * self.counter[base] <= self.counter[i] < self.counter[base])

    def _left_out(self, base: int, i: int) -> IncrementFlag:
        between = range(base + 1, i)
        if not between:
            return IncrementFlag.NONE
        return IncrementFlag.DIP if all(self._is_dip(base, j) for j in between) else IncrementFlag.GLITCH

    def _is_proved(self, base: int, track: int, i: int) -> bool:
        """Say whether the samples track..i are where the counter now is.

        One further rise proves a restart or a step. A value that merely repeats may be a register stuck at 0
        while the device boots, and a dip usually ends by itself: both must last for hold_samples.
        """
        if i - track + 1 >= self.rules.hold_samples:
            return True
        return bool(self.counter[i] > self.counter[track]) and not self._is_dip(base, track)

    def _moved(self, base: int, track: int) -> _Verdict:
        x = float(self.counter[track])
        restarted = 0 <= x < RESET_SHARE * self.counter[base] and x <= self.allowance.kwh(base, track)
        if restarted:
            return _Verdict(track, x, IncrementFlag.RESET)
        return _Verdict(track, math.nan, IncrementFlag.STEP)
