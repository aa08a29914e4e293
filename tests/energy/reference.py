"""The rules of energy once more, sample by sample in plain Python: without arrays, without a fast path, slow.

    1  a plausible rise is energy; what is not plausible is held until the next samples say what it was
    2  a fall over the modulus is a rollover
    3  a confirmed fall to a small value is a restart: energy since then
    4  a swap or reset cuts the series: final - last, next - initial, unknown where nobody read
    5  energy between two samples is spread evenly over the time between them
       in a whole series, what stands after a jump with values inside of it is told by a wrong clock, and left out
       what the device shows is multiplied by the ratio that holds at the time

Rule 6, power, is in `integral`; rule 7, coverage, in `bucket`. A row is (start_us, end_us, energy_kwh or None, flags,
is_estimated).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from emsd.energy.counters import CONTEXT_SAMPLES, CounterRules
from emsd.energy.events import CounterName, EventKind, MeterEvent
from emsd.energy.series import IncrementFlag

ROLLOVER, RESET = IncrementFlag.ROLLOVER, IncrementFlag.RESET
GLITCH, STEP, DIP = IncrementFlag.GLITCH, IncrementFlag.STEP, IncrementFlag.DIP
SWAP, HELD_OUT = IncrementFlag.SWAP, IncrementFlag.HELD_OUT

Row = tuple[int, int, float | None, int, bool]
Sample = tuple[int, float]


def factor_at(events: Sequence[MeterEvent], time_us: float) -> float:
    """By what the device's energy is multiplied at a time."""
    factor = 1.0
    for event in sorted(events, key=lambda each: each.at_us):
        if event.factor is not None and event.at_us <= time_us:
            factor = event.factor
    return factor


def changes_between(events: Sequence[MeterEvent], from_us: int, to_us: int) -> list[int]:
    """The bounds and, between them, when the ratio changes."""
    inner = {event.at_us for event in events if event.factor is not None and from_us < event.at_us < to_us}
    return [from_us, *sorted(inner), to_us]


class Series:
    """One device's counter between two cuts."""

    def __init__(
        self, samples: list[Sample], rules: CounterRules, events: Sequence[MeterEvent] = (), *, is_whole: bool = False
    ) -> None:
        self.times = [time_us for time_us, _ in samples]
        self.counter = [value for _, value in samples]
        self.rules, self.events, self.is_whole = rules, events, is_whole
        self.rows: list[Row] = []
        self.held_out: set[int] = set()

    def allowed(self, a: int, b: int) -> float:
        if self.rules.max_power_kw is None:
            return math.inf
        begin_us = self.times[a] - round(self.rules.refresh_s * 1e6)
        hours = sum(
            (later - earlier) / 3.6e9 / factor_at(self.events, earlier)
            for earlier, later in pairwise(changes_between(self.events, begin_us, self.times[b]))
        )
        return self.rules.max_power_kw * self.rules.plausibility_factor * hours + self.rules.count_kwh

    def rise(self, a: int, b: int) -> float | None:
        delta = self.counter[b] - self.counter[a]
        return delta if 0 <= delta <= self.allowed(a, b) else None

    def roll(self, a: int, b: int) -> float | None:
        modulus = self.rules.modulus_kwh
        if modulus is None or self.counter[b] >= self.counter[a]:
            return None
        delta = self.counter[b] - self.counter[a] + modulus
        return delta if 0 <= delta <= min(self.allowed(a, b), modulus / 10) else None

    def is_dip(self, base: int, i: int) -> bool:
        return 0.9 * self.counter[base] <= self.counter[i] < self.counter[base]

    def put(self, a: int, b: int, energy: float | None, flag: int) -> None:
        seconds = (self.times[b] - self.times[a]) / 1e6
        self.rows.append((self.times[a], self.times[b], energy, flag, seconds > self.rules.max_gap_s))

    def returns(self, base: int, held: list[int], i: int) -> bool:
        up, over = self.rise(base, i), self.roll(base, i)
        if i + 1 < len(self.times) and len(held) + 1 < CONTEXT_SAMPLES and self.rise(base, i + 1) is not None:
            over = None
        if up is None and over is None:
            return False
        flag = 0 if over is None else int(ROLLOVER)
        if held:
            flag |= DIP if all(self.is_dip(base, h) for h in held) else GLITCH
        self.put(base, i, up if up is not None else over, flag)
        return True

    def moves(self, base: int, held: list[int]) -> int | None:
        begin = held[-1]
        while begin > held[0] and (self.rise(begin - 1, begin) is not None or self.roll(begin - 1, begin) is not None):
            begin -= 1
        first = self.counter[begin]
        advances = self.counter[held[-1]] > first and not self.is_dip(base, begin)
        lasts = held[-1] - begin + 1 >= self.rules.hold_samples
        if not (advances or lasts or len(held) == CONTEXT_SAMPLES):
            return None
        restarted = 0 <= first < 0.9 * self.counter[base] and first <= self.allowed(base, begin)
        if self.is_whole and not restarted and first < self.counter[base]:
            self.held_out = self.told_before(begin)
        self.put(base, begin, first if restarted else None, RESET if restarted else STEP)
        return begin

    def told_before(self, fallen: int) -> set[int]:
        """Samples that stand after the longest jump over the fallen value, and have values inside of it."""
        value = self.counter[fallen]
        jumps = [i for i in range(fallen - 1) if self.counter[i] <= value < self.counter[i + 1]]
        if not jumps:
            return set()
        jump = max(jumps, key=lambda i: (self.times[i + 1] - self.times[i], -i))
        low, high = self.counter[jump], self.counter[jump + 1]
        told = [
            i
            for i in range(jump + 2, len(self.times))
            if low <= self.counter[i] <= high and self.counter[i] < max(self.counter[jump + 1 : i])
        ]
        if len(told) < self.rules.hold_samples:
            return set()
        in_time = self.times[told[-1]] - self.times[told[0]] <= self.times[jump + 1] - self.times[jump]
        rising = all(self.counter[a] <= self.counter[b] for a, b in pairwise(told))
        soon = self.counter[told[0]] - low <= 3 * (high - low) / (len(told) + 1) + 2 * self.rules.count_kwh
        return set(told) if in_time and rising and soon else set()

    def run(self) -> tuple[list[Row], bool]:
        base, held, i = 0, list[int](), 1
        while i < len(self.times):
            if self.returns(base, held, i):
                base, held = i, []
            else:
                held.append(i)
                moved = self.moves(base, held)
                if self.held_out:
                    return self.without_held_out()
                if moved is not None:
                    base, held, i = moved, [], moved
            i += 1
        return self.rows, bool(held)

    def without_held_out(self) -> tuple[list[Row], bool]:
        samples = list(zip(self.times, self.counter, strict=True))
        kept = [each for i, each in enumerate(samples) if i not in self.held_out]
        rows, pending = Series(kept, self.rules, self.events, is_whole=True).run()
        return flagged([self.times[i] for i in sorted(self.held_out)], rows, kept), pending


def flagged(held_us: list[int], rows: list[Row], kept: list[Sample]) -> list[Row]:
    """Flag the stretches in which samples were left out, and say so where the series ends in some."""
    marked = [
        (start, end, energy, flag | (HELD_OUT if any(start < at < end for at in held_us) else 0), estimated)
        for start, end, energy, flag, estimated in rows
    ]
    ends = marked[-1][1] if marked else kept[0][0] if kept else None
    if held_us and ends is not None and held_us[-1] > ends:
        marked.append((ends, held_us[-1], None, int(HELD_OUT | STEP), True))
    return marked


@dataclass
class Cut:
    """Where one life of the counter ends and the next begins."""

    at_us: int
    boundary_us: int
    final: float | None
    initial: float | None
    flag: int


def meter_rows(
    samples: Sequence[Sample], rules: CounterRules, counter: CounterName, events: Sequence[MeterEvent]
) -> tuple[list[Row], bool]:
    """The energy of one counter through the events of its meter; samples in order of time, without missing values."""
    held_us, kept = [], dict[int, float]()
    for time_us, value in samples:
        if any(
            event.kind is EventKind.HOLD_OUT
            and event.until_us is not None
            and event.at_us <= time_us < event.until_us
            and (event.counter is None or event.low_kwh <= value <= event.high_kwh)
            for event in events
        ):
            held_us.append(time_us)
        else:
            kept[time_us] = value
    for event in events:
        read = event.reading.of(counter)
        if read is not None and event.at_us not in {time_us for time_us, _ in samples if time_us in kept}:
            kept[event.at_us] = read
    ordered = sorted(kept.items())
    rows: list[Row] = []
    pending = False
    cuts = cuts_of(ordered, counter, events)
    for opening, closing in pairwise([None, *cuts, None]):
        more, pending = piece(ordered, rules, events, opening, closing)
        rows += more
    return multiplied(flagged(held_us, rows, ordered), events), pending


def cuts_of(samples: list[Sample], counter: CounterName, events: Sequence[MeterEvent]) -> list[Cut]:
    cuts: list[Cut] = []
    for event in sorted(events, key=lambda each: (each.boundary_us, each.at_us)):
        if event.kind not in {EventKind.SWAP, EventKind.RESET}:
            continue
        initial = 0.0 if event.kind is EventKind.RESET else event.initial.of(counter)
        final = event.final.of(counter)
        before = [each for each in samples if each[0] < event.boundary_us][-1:]
        after = [each for each in samples if each[0] >= event.boundary_us][:1]
        at_us = event.at_us
        if before and after and not before[0][0] < at_us < after[0][0]:
            # The written time is wrong: power was even, or nobody knows.
            share = 0.5
            if final is not None and initial is not None:
                ended, begun = final - before[0][1], after[0][1] - initial
                share = ended / (ended + begun) if ended >= 0 and begun >= 0 and ended + begun > 0 else 0.5
            at_us = before[0][0] + round(share * (after[0][0] - before[0][0]))
        at_us = min([at_us, *(time_us - 1 for time_us, _ in after)])
        at_us = max([at_us, *(time_us + 1 for time_us, _ in before), *(cut.at_us for cut in cuts[-1:])])
        flag = RESET if event.kind is EventKind.RESET else SWAP
        cuts.append(Cut(at_us, event.boundary_us, final, initial, int(flag)))
    return cuts


def piece(
    samples: list[Sample],
    rules: CounterRules,
    events: Sequence[MeterEvent],
    opening: Cut | None,
    closing: Cut | None,
) -> tuple[list[Row], bool]:
    own = [
        (time_us, value)
        for time_us, value in samples
        if (opening is None or time_us >= opening.boundary_us) and (closing is None or time_us < closing.boundary_us)
    ]
    if opening and opening.initial is not None and not (own and own[0][0] == opening.at_us):
        own.insert(0, (opening.at_us, opening.initial))
    if closing and closing.final is not None and not (own and own[-1][0] == closing.at_us):
        last = own[-1][1] if own else None
        rounded = last is not None and last - 1 <= closing.final < last
        own.append((closing.at_us, last if rounded and last is not None else closing.final))
    rows, pending = Series(own, rules, events).run()
    if opening and own and own[0][0] > opening.at_us:
        rows.insert(0, unknown(opening.at_us, own[0][0], opening.flag, rules))
    elif opening and rows:
        start, end, energy, flag, estimated = rows[0]
        if flag & RESET:
            energy, flag = None, int(STEP)
        rows[0] = (start, end, energy, flag | opening.flag, estimated)
    if closing is None:
        return rows, pending
    ends = rows[-1][1] if rows else own[0][0] if own else opening.at_us if opening else closing.at_us
    if ends < closing.at_us:
        flag = closing.flag | (opening.flag if opening and ends <= opening.at_us else 0)
        rows.append(unknown(ends, closing.at_us, flag, rules))
    elif rows:
        start, end, energy, flag, estimated = rows[-1]
        rows[-1] = (start, end, energy, flag | closing.flag, estimated)
    return rows, False


def unknown(start: int, end: int, flag: int, rules: CounterRules) -> Row:
    return start, end, None, flag | STEP, (end - start) / 1e6 > rules.max_gap_s


def multiplied(rows: list[Row], events: Sequence[MeterEvent]) -> list[Row]:
    split: list[Row] = []
    for start, end, energy, flag, estimated in rows:
        for begin, finish in pairwise(changes_between(events, start, end)):
            share = (finish - begin) / (end - start) * factor_at(events, begin)
            split.append((begin, finish, None if energy is None else energy * share, flag, estimated))
    return split


def bucket(rows: list[Row], from_us: int, to_us: int) -> tuple[float | None, float, float]:
    """Energy [kWh] of a bucket, the estimated part of it, and the seconds of it that are measured."""
    energy, estimated, covered_s, known = 0.0, 0.0, 0.0, False
    for start, end, kwh, _, is_estimated in rows:
        overlap = min(end, to_us) - max(start, from_us)
        if overlap > 0 and kwh is not None:
            known = True
            energy += kwh * overlap / (end - start)
            estimated += kwh * overlap / (end - start) if is_estimated else 0.0
            covered_s += 0.0 if is_estimated else overlap / 1e6
    return (energy if known else None), estimated, covered_s


def integral(samples: Sequence[Sample], max_gap_s: float, *, hold: bool) -> list[tuple[int, int, float, float]]:
    """Rule 6: (start_us, end_us, consumed, generated) [kWh] between samples of power that are near."""
    found = []
    for (start, left), (end, sampled) in pairwise(samples):
        hours = (end - start) / 3.6e9
        if (end - start) / 1e6 > max_gap_s:
            continue
        right = left if hold else sampled
        if left * right < 0:
            # The line is above zero for the share |positive| / (|left| + |right|) of the time.
            high, low = max(left, right), min(left, right)
            consumed = hours * high / (high - low) * high / 2
            generated = hours * -low / (high - low) * -low / 2
        else:
            consumed, generated = hours * max(left + right, 0) / 2, hours * max(-left - right, 0) / 2
        found.append((start, end, consumed, generated))
    return found
