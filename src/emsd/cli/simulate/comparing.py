"""A running emsd against a running simulator: measured and true energy of every meter in one window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote, urlencode

from emsd.cli.simulate.address import Address, ask_simulator
from emsd.cli.simulate.asking import ask

__all__ = ["TOLERANCE", "Compared", "Fault", "Verdict", "compare", "pieces_of"]

TOLERANCE: Final = 0.001
"""Largest error as a share of the true energy, beside one count of the meter's counter."""

_ALWAYS_KNOWN: Final = frozenset({"all", "counter"})
_KNOWN_AFTERWARDS: Final = "total"
_KNOWN_BUT_STEP: Final = "up to step"
"""What can be known under a fault; the words are those of the simulator's record."""
_DECEIVING: Final = frozenset({"another_device", "counter_dip", "counter_glitch"})
"""Faults under which a counter steps away and steps back later: over more than a poll a reader cannot tell that from a
reset and a jump, and all that can be asked of it is to say so."""
_RECOVERY: Final = timedelta(minutes=2)
"""How long after a fault a meter may take until it is read again; before, its counter's total is not known."""
_HARMLESS: Final = frozenset({"simulated"})
"""Flags that are no warning."""
_WHOLE: Final = 0.9995

_QUARTER: Final = timedelta(minutes=15)
_LONGEST: Final = {"1m": timedelta(days=7), "15m": timedelta(days=90)}
"""Longest piece of each tier that is asked for at once; the API gives a little more."""


class Verdict(StrEnum):
    """What is to be said of a figure."""

    RIGHT = "right"
    """Known, and its error is within what is allowed."""
    FLAGGED = "flagged"
    """It could not be known, and says so: missing, estimated, not covered as a whole, or flagged."""
    WRONG = "wrong"
    """Neither: an error that nobody would see, or energy that could have been known."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of the simulator that was in force in the window.

    known   those of its meters whose energy of the whole window can be known all the same, by whoever only reads them
    """

    number: int
    kind: str
    meters: tuple[str, ...]
    known: frozenset[str]


@dataclass(frozen=True, slots=True)
class Compared:
    """One direction of one meter in the window.

    measured_kwh   None: nothing is known of it
    coverage       share 0..1 of the window that was measured
    estimated_kwh  the part of what was measured that was spread over gaps
    flags          what happened to its counter
    faults         numbers of the faults that it had
    is_knowable    whether all of its energy could be known
    """

    meter: str
    direction: str
    true_kwh: float
    measured_kwh: float | None
    estimated_kwh: float
    coverage: float
    count_kwh: float
    flags: tuple[str, ...] = ()
    faults: tuple[int, ...] = ()
    is_knowable: bool = True

    @property
    def error_kwh(self) -> float | None:
        """Measured less true [kWh]; None when nothing was measured."""
        return None if self.measured_kwh is None else self.measured_kwh - self.true_kwh

    @property
    def allowed_kwh(self) -> float:
        """Largest error that is still right [kWh]: one count, and a thousandth of what is true."""
        return self.count_kwh + TOLERANCE * abs(self.true_kwh)

    @property
    def verdict(self) -> Verdict:
        """Right within what is allowed; where the energy could not be known, flagged will do."""
        error = self.error_kwh
        if error is not None and abs(error) <= self.allowed_kwh:
            return Verdict.RIGHT
        says_so = bool(set(self.flags) - _HARMLESS) or self.coverage < _WHOLE or self.estimated_kwh > 0
        return Verdict.FLAGGED if not self.is_knowable and says_so else Verdict.WRONG


def compare(simulator: Address, emsd_url: str, from_: datetime, to: datetime) -> tuple[list[Compared], list[Fault]]:
    """Return measured and true energy of every meter in [from_, to), full minutes, in the plant's order, and faults.

    Raises:
        ServerError: one of the two does not answer, or does not know a meter.
        ConfigurationError: the simulator refuses.
    """
    window = urlencode({"from": from_.isoformat(), "to": to.isoformat()})
    truth = ask_simulator(simulator, "GET", f"/truth?{window}")
    faults = [_fault(each, from_, to) for each in ask_simulator(simulator, "GET", f"/faults?{window}")]
    found: list[Compared] = []
    for meter, true in truth["meters"].items():
        intervals = list(_intervals(emsd_url, meter, from_, to))
        own = [each for each in faults if meter in each.meters]
        found += [_compared(meter, direction, true, intervals, to - from_, own) for direction in true["directions"]]
    return found, faults


def _fault(record: Mapping[str, Any], from_: datetime, to: datetime) -> Fault:
    """Return a fault of the control API as one of a window."""
    begin, until = datetime.fromisoformat(record["from"]), record["until"]
    passed = from_ <= begin and until is not None and datetime.fromisoformat(until) + _RECOVERY <= to
    enough = set(_ALWAYS_KNOWN)
    if passed:
        enough.add(_KNOWN_AFTERWARDS)
    if begin < from_:
        enough.add(_KNOWN_BUT_STEP)
    known = () if record["kind"] in _DECEIVING else (key for key, each in record["knowable"].items() if each in enough)
    return Fault(record["number"], record["kind"], tuple(record["meters"]), frozenset(known))


def pieces_of(from_: datetime, to: datetime) -> Iterator[tuple[str, datetime, datetime]]:
    """Cut a window into (tier, from, to): quarter hours, and minutes where it begins and ends inside one."""
    first, last = _next_quarter(from_), _next_quarter(to)
    last -= _QUARTER if last > to else timedelta(0)
    if first > last:
        first = last = to
    for tier, begin, end in (("1m", from_, first), ("15m", first, last), ("1m", last, to)):
        at = begin
        while at < end:
            following = min(at + _LONGEST[tier], end)
            yield tier, at, following
            at = following


def _next_quarter(instant: datetime) -> datetime:
    """Return the first full quarter hour that is not before an instant."""
    since = (instant - datetime(1970, 1, 1, tzinfo=UTC)) % _QUARTER
    return instant + (_QUARTER - since) if since else instant


def _intervals(emsd_url: str, meter: str, from_: datetime, to: datetime) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """Yield (width [s], interval) of what emsd has of a meter."""
    for tier, begin, end in pieces_of(from_, to):
        window = {"tier": tier, "from": begin.isoformat(), "to": end.isoformat()}
        answer = ask("emsd", emsd_url, f"/api/v1/meters/{quote(meter, safe='')}/intervals", window)
        for each in answer["intervals"]:
            yield (60.0 if tier == "1m" else _QUARTER.total_seconds()), each


def _compared(
    meter: str,
    direction: str,
    true: Mapping[str, Any],
    intervals: list[tuple[float, Mapping[str, Any]]],
    length: timedelta,
    faults: Sequence[Fault],
) -> Compared:
    known = [each[f"energy_{direction}_kwh"] for _, each in intervals if each[f"energy_{direction}_kwh"] is not None]
    return Compared(
        meter=meter,
        direction=direction,
        true_kwh=true[f"{direction}_kwh"],
        measured_kwh=sum(known) if known else None,
        estimated_kwh=sum(each[f"estimated_{direction}_kwh"] for _, each in intervals),
        coverage=sum(width_s * each["coverage"] for width_s, each in intervals) / length.total_seconds(),
        count_kwh=true["count_kwh"],
        flags=tuple(sorted({flag for _, each in intervals for flag in each["flags"]})),
        faults=tuple(each.number for each in faults),
        is_knowable=all(meter in each.known for each in faults),
    )
