"""What a series of readings says of the energy in a time, so that it can be told and added up."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from emsd.energy.series import IncrementFlag

__all__ = ["MOST_LISTED", "Evidence", "GapEvidence", "ReadingAt", "SpecialStretch"]

MOST_LISTED: Final = 50
"""Special stretches and gaps that are told one by one; of further ones only how many there are."""


@dataclass(frozen=True, slots=True)
class ReadingAt:
    """What a counter [kWh], or the power [kW], showed."""

    time_us: int
    value: float


@dataclass(frozen=True, slots=True)
class SpecialStretch:
    """Time between two good readings in which the counter did not simply count.

    before, after    the good readings on either side; None where there is none
    flags            bits of IncrementFlag
    pieces_kwh       energy of the pieces into which events cut it, in order of time [kWh]; None where it is unknown
    counted_kwh      energy that was counted in it [kWh]; None where it is unknown
    correction_kwh   counted energy less the difference of the two readings [kWh]
    left_out         readings in between that count for nothing, the first few
    """

    before: ReadingAt | None
    after: ReadingAt | None
    flags: IncrementFlag
    pieces_kwh: tuple[float | None, ...]
    counted_kwh: float | None
    correction_kwh: float
    left_out: tuple[ReadingAt, ...]
    left_out_count: int


@dataclass(frozen=True, slots=True)
class GapEvidence:
    """Time [start_us, end_us) without readings, longer than counts as measured.

    energy_kwh  what it holds in all [kWh], spread evenly over it; None where nobody knows
    inside_kwh  the part of it inside the time that is explained [kWh]
    """

    start_us: int
    end_us: int
    energy_kwh: float | None
    inside_kwh: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one series says of the energy in a time; parts in order of time are added with +.

    figure_kwh       energy in the time [kWh]; None where nothing is known
    estimated_kwh    the part of it that was spread over gaps longer than counts as measured
    first, last      the outermost readings that the figure rests on; they may lie outside of the time
    sample_count     usable readings in the time
    ratio_kwh        what changed current transformers add to the differences of readings
    corrections_kwh  what all special stretches add to them, listed or not
    outside_kwh      energy between the outermost readings that lies before or after the time
    special_counts   how many special stretches there are, by flag
    begin_us, end_us where the stretches of the time begin and end; None without any
    """

    figure_kwh: float | None = None
    estimated_kwh: float = 0.0
    first: ReadingAt | None = None
    last: ReadingAt | None = None
    sample_count: int = 0
    ratio_kwh: float = 0.0
    corrections_kwh: float = 0.0
    outside_kwh: float = 0.0
    specials: tuple[SpecialStretch, ...] = ()
    special_count: int = 0
    special_counts: Mapping[str, int] = field(default_factory=dict)
    gaps: tuple[GapEvidence, ...] = ()
    gap_count: int = 0
    begin_us: int | None = None
    end_us: int | None = None

    def __add__(self, later: Evidence) -> Evidence:
        known = [each for each in (self.figure_kwh, later.figure_kwh) if each is not None]
        return Evidence(
            figure_kwh=math.fsum(known) if known else None,
            estimated_kwh=self.estimated_kwh + later.estimated_kwh,
            first=self.first or later.first,
            last=later.last or self.last,
            sample_count=self.sample_count + later.sample_count,
            ratio_kwh=self.ratio_kwh + later.ratio_kwh,
            corrections_kwh=self.corrections_kwh + later.corrections_kwh - self._jump_kwh(later),
            outside_kwh=self.outside_kwh + later.outside_kwh,
            specials=(*self.specials, *later.specials)[:MOST_LISTED],
            special_count=self.special_count + later.special_count,
            special_counts=Counter(self.special_counts) + Counter(later.special_counts),
            gaps=(*self.gaps, *later.gaps)[:MOST_LISTED],
            gap_count=self.gap_count + later.gap_count,
            begin_us=later.begin_us if self.begin_us is None else self.begin_us,
            end_us=self.end_us if later.end_us is None else later.end_us,
        )

    def _jump_kwh(self, later: Evidence) -> float:
        """Return by how much the readings of two parts differ where no stretch joins them [kWh]."""
        if self.last is None or later.first is None or later.first.time_us == self.last.time_us:
            return 0.0
        return later.first.value - self.last.value

    @property
    def difference_kwh(self) -> float | None:
        """Last less first reading [kWh]; None without readings."""
        return None if self.first is None or self.last is None else self.last.value - self.first.value

    @property
    def left_over_kwh(self) -> float | None:
        """What the sum of readings and corrections has beyond the figure [kWh]; it must be 0."""
        if self.difference_kwh is None or self.figure_kwh is None:
            return None
        parts = (self.difference_kwh, self.ratio_kwh, self.corrections_kwh, -self.outside_kwh, -self.figure_kwh)
        return math.fsum(parts)
