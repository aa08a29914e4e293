"""One direction of one meter, explained: evidence from raw readings beside what the tables say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from emsd.api.explained.counters import MeterRules
from emsd.api.explained.form import same_figure
from emsd.api.explained.schemas import (
    CheckSum,
    EstimateOfGap,
    ExplainedDirection,
    ExplainedGap,
    ExplainedReading,
    ExplainedSpecial,
)
from emsd.energy.estimation import LONG_GAP_US
from emsd.energy.evidence import Evidence, GapEvidence, ReadingAt, SpecialStretch
from emsd.energy.series import BUCKET_15M_US, US_PER_S, ceil_us, floor_us
from emsd.readings import Quality, instant_us, to_datetime
from emsd.store import explain as table
from emsd.store.pool import Session

__all__ = ["Told", "explained_direction", "without_readings"]

_SAME_KWH: Final = 1e-6
_ROUNDING: Final = 1e-12
"""What rounding may leave of a sum of doubles [kWh], and as a share of the largest of them."""
_NO_CAUSE: Final = "no cause is known; emsd recompute makes the intervals anew"


@dataclass(frozen=True, slots=True)
class Told:
    """What the raw readings of a meter say of [from_, to), and why the interval tables might say something else."""

    rules: MeterRules
    from_: datetime
    to: datetime
    evidence: Mapping[str, Evidence]
    reasons: Sequence[str] = ()

    @property
    def reach_us(self) -> tuple[int, int]:
        """From the first to the last reading that any of it rests on [us], and all of the time asked for."""
        ends = [end for each in self.evidence.values() for end in (each.first, each.last) if end is not None]
        times_us = [each.time_us for each in ends] + [instant_us(self.from_), instant_us(self.to)]
        return min(times_us), max(times_us)


async def explained_direction(
    connection: Session, told: Told, direction: str, stored_kwh: float | None
) -> ExplainedDirection:
    """Return one direction with its readings, special stretches, gaps, and the sum of it all."""
    evidence = told.evidence.get(direction, Evidence())
    gaps = _with_open_ends(evidence, instant_us(told.from_), instant_us(told.to), told.rules.counter.max_gap_us)
    quality = await _qualities(connection, told.rules.meter_id, evidence)
    agrees = same_figure(evidence.figure_kwh, stored_kwh)
    remark = "" if agrees else "; ".join(told.reasons) or _NO_CAUSE
    return ExplainedDirection(
        direction="import" if direction == "import" else "export",
        source="counter" if told.rules.by_counter else "power",
        figure_kwh=evidence.figure_kwh,
        estimated_kwh=evidence.estimated_kwh,
        stored_kwh=stored_kwh,
        agrees=agrees,
        remark=remark,
        best_kwh=await _best(connection, told.rules.meter_id, (told.from_, told.to), direction, evidence.figure_kwh),
        first=_reading(evidence.first, quality),
        last=_reading(evidence.last, quality),
        sample_count=evidence.sample_count,
        check_sum=_check_sum(evidence) if told.rules.by_counter else None,
        special_stretches=[_special(each, quality) for each in evidence.specials],
        special_count=evidence.special_count,
        special_counts=dict(evidence.special_counts),
        gaps=[await _gap(connection, told, direction, each) for each in gaps],
        gap_count=evidence.gap_count + len(gaps) - len(evidence.gaps),
    )


def _with_open_ends(evidence: Evidence, from_us: int, to_us: int, max_gap_us: float) -> list[GapEvidence]:
    """Add the time before the first and after the last reading of all."""
    begin_us = to_us if evidence.begin_us is None else evidence.begin_us
    end_us = to_us if evidence.end_us is None else evidence.end_us
    ends = [
        GapEvidence(start, end, None, 0.0)
        for start, end in ((from_us, begin_us), (end_us, to_us))
        if end - start > max_gap_us
    ]
    return sorted((*evidence.gaps, *ends), key=lambda gap: gap.start_us)


async def _qualities(connection: Session, meter_id: int, evidence: Evidence) -> dict[int, int]:
    readings = [evidence.first, evidence.last]
    for each in evidence.specials:
        readings += [each.before, each.after, *each.left_out]
    return await table.read_qualities(connection, meter_id, [each.time_us for each in readings if each is not None])


async def without_readings(
    connection: Session,
    meter_id: int,
    span: tuple[datetime, datetime],
    direction: str,
    source: Literal["virtual", "unknown"],
    kwh: tuple[float | None, float | None, float | None],
    reasons: Sequence[str],
) -> ExplainedDirection:
    """Return what can be said of a direction that has no readings of its own.

    kwh  computed anew, the estimated part of that, and what the interval tables say [kWh]
    """
    figure_kwh, estimated_kwh, stored_kwh = kwh
    agrees = same_figure(figure_kwh, stored_kwh)
    return ExplainedDirection(
        direction="import" if direction == "import" else "export",
        source=source,
        figure_kwh=figure_kwh,
        estimated_kwh=estimated_kwh,
        stored_kwh=stored_kwh,
        agrees=agrees,
        remark="; ".join(reasons) if reasons or agrees else _NO_CAUSE,
        best_kwh=await _best(connection, meter_id, span, direction, figure_kwh),
        first=None,
        last=None,
        sample_count=0,
        check_sum=None,
        special_stretches=[],
        special_count=0,
        special_counts={},
        gaps=[],
        gap_count=0,
    )


async def _best(
    connection: Session, meter_id: int, span: tuple[datetime, datetime], direction: str, figure_kwh: float | None
) -> float | None:
    """Put the estimates of whole quarter hours in the place of the even spread."""
    from_us = ceil_us(instant_us(span[0]), BUCKET_15M_US)
    to_us = floor_us(instant_us(span[1]), BUCKET_15M_US)
    found = await table.read_gap_estimates(connection, meter_id, direction, from_us, to_us)
    if found is None or found.energy_kwh is None:
        return figure_kwh
    return (figure_kwh or 0.0) + found.energy_kwh - found.replaced_kwh


def _reading(at: ReadingAt | None, quality: Mapping[int, int]) -> ExplainedReading | None:
    return None if at is None else _shown(at, quality)


def _shown(at: ReadingAt, quality: Mapping[int, int]) -> ExplainedReading:
    flags = quality.get(at.time_us)
    names = None if flags is None else [flag.name.lower() for flag in Quality(flags) if flag.name]
    return ExplainedReading(time=to_datetime(at.time_us), value=at.value, quality=names)


def _special(stretch: SpecialStretch, quality: Mapping[int, int]) -> ExplainedSpecial:
    return ExplainedSpecial(
        flags=[flag.name.lower() for flag in stretch.flags if flag.name],
        before=_reading(stretch.before, quality),
        after=_reading(stretch.after, quality),
        pieces_kwh=list(stretch.pieces_kwh),
        counted_kwh=stretch.counted_kwh,
        correction_kwh=stretch.correction_kwh,
        left_out=[_shown(each, quality) for each in stretch.left_out],
        left_out_count=stretch.left_out_count,
    )


def _check_sum(evidence: Evidence) -> CheckSum | None:
    left_over = evidence.left_over_kwh
    if evidence.first is None or evidence.last is None or evidence.figure_kwh is None or left_over is None:
        return None
    return CheckSum(
        first_kwh=evidence.first.value,
        last_kwh=evidence.last.value,
        difference_kwh=evidence.last.value - evidence.first.value,
        ratio_kwh=evidence.ratio_kwh,
        corrections_kwh=evidence.corrections_kwh,
        outside_kwh=evidence.outside_kwh,
        figure_kwh=evidence.figure_kwh,
        left_over_kwh=left_over,
        holds=abs(left_over) <= max(_SAME_KWH, _ROUNDING * max(evidence.first.value, evidence.last.value)),
    )


async def _gap(connection: Session, told: Told, direction: str, gap: GapEvidence) -> ExplainedGap:
    estimate = None
    if gap.end_us - gap.start_us > LONG_GAP_US:
        from_us = max(floor_us(gap.start_us, BUCKET_15M_US), floor_us(instant_us(told.from_), BUCKET_15M_US))
        to_us = min(gap.end_us, instant_us(told.to))
        estimate = await table.read_gap_estimates(connection, told.rules.meter_id, direction, from_us, to_us)
    return ExplainedGap(
        from_=to_datetime(gap.start_us),
        to=to_datetime(gap.end_us),
        length_s=(gap.end_us - gap.start_us) / US_PER_S,
        energy_kwh=gap.energy_kwh,
        inside_kwh=gap.inside_kwh,
        method=_method(gap, estimate),
        estimate=None
        if estimate is None
        else EstimateOfGap(
            energy_kwh=estimate.energy_kwh,
            replaced_kwh=estimate.replaced_kwh,
            total_known=estimate.total_known,
            quarter_hours=estimate.quarter_hours,
            shaped_quarter_hours=estimate.shaped_quarter_hours,
            like_days=list(estimate.basis_days),
        ),
    )


def _method(gap: GapEvidence, estimate: table.GapEstimate | None) -> str:
    known = gap.energy_kwh is not None
    figure = "spread evenly between the readings on either side" if known else "unknown, and not in the figure"
    if estimate is None:
        return figure
    shaped, every = estimate.shaped_quarter_hours, estimate.quarter_hours
    if not shaped:
        return f"{figure}; there is no like day to estimate it by"
    scaled = ", scaled to the total of the counter" if estimate.total_known else ""
    return f"{figure}; estimated beside it by like days{scaled} ({shaped} of {every} quarter hours)"
