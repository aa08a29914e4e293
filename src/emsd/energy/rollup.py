"""Rolling windows: which stored intervals several windows need together, and what their sums say.

Windows overlap (today lies in 24h, 24h in 7d), so their segments are cut into atoms that do not: every atom is read
once, and each window adds up its own. A window is also cut where the carbon factor changes; the parts between are
its pieces, and each piece has one factor.

    windows --plan_rollup--> RollupPlan --store--> sums of each atom --roll_up--> RollingWindow
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from itertools import accumulate, groupby, pairwise
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

from emsd.energy.carbon import CarbonFactor, EnergyPeriod, emissions_kg, factor_at, factor_cuts
from emsd.energy.windows import Segment, Tier, WindowName, split_by_tier, window_bounds

__all__ = [
    "NOTHING",
    "CarbonBasis",
    "EnergySums",
    "RollingWindow",
    "RollupPlan",
    "ScopeSums",
    "WindowPlan",
    "plan_rollup",
    "roll_up",
]

CarbonBasis: TypeAlias = Literal["grid_import", "consumption"]
"""What is multiplied with the factor: what the site drew from the grid, or what a part of it consumed."""


@dataclass(frozen=True, slots=True)
class EnergySums:
    """Sums over some meters and some time.

    import_kwh, export_kwh  [kWh]; None when no interval of any of the meters knows it
    estimated_kwh           [kWh], the part of import and export that was spread over gaps
    covered_s               [s], covered time of each meter, added up over the meters
    """

    import_kwh: float | None = None
    export_kwh: float | None = None
    estimated_kwh: float = 0.0
    covered_s: float = 0.0

    def __add__(self, other: EnergySums) -> EnergySums:
        return EnergySums(
            _plus(self.import_kwh, other.import_kwh),
            _plus(self.export_kwh, other.export_kwh),
            self.estimated_kwh + other.estimated_kwh,
            self.covered_s + other.covered_s,
        )

    @property
    def net_kwh(self) -> float | None:
        """Import less export [kWh]; a direction that the meters do not count adds nothing."""
        if self.import_kwh is None and self.export_kwh is None:
            return None
        return (self.import_kwh or 0.0) - (self.export_kwh or 0.0)


@dataclass(frozen=True, slots=True)
class ScopeSums:
    """Sums of a scope: of its top meters, and of the PV meters in it or below them."""

    top: EnergySums = EnergySums()
    generation: EnergySums = EnergySums()

    def __add__(self, other: ScopeSums) -> ScopeSums:
        return ScopeSums(self.top + other.top, self.generation + other.generation)


NOTHING = ScopeSums()


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """A window [from_, to) and the segments that partition it, none of which contains a change of the factor."""

    name: WindowName
    from_: datetime
    to: datetime
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class RollupPlan:
    """Windows, and the disjoint atoms from which every segment of theirs can be added up, in order by tier."""

    windows: tuple[WindowPlan, ...]
    atoms: Mapping[Tier, tuple[Segment, ...]]


@dataclass(frozen=True, slots=True)
class RollingWindow:
    """Energy [kWh] and emissions [kg CO2] of one scope in [from_, to); None is unknown, never 0.

    coverage             share 0..1 of the window's time that was measured, mean over the top meters
    generation_coverage  the same over the PV meters
    estimated_share      share 0..1 of import and export that was spread over gaps
    carbon_coverage      share 0..1 of the energy for which a factor was valid
    avoided_kg_co2       own PV used by the site itself, times the factor; beside the inventory, never inside
    factors              the factors used, in order of time
    """

    name: WindowName
    from_: datetime
    to: datetime
    import_kwh: float | None
    export_kwh: float | None
    net_kwh: float | None
    generation_kwh: float | None
    consumption_kwh: float | None
    coverage: float | None
    generation_coverage: float | None
    estimated_share: float | None
    kg_co2: float | None
    carbon_coverage: float | None
    avoided_kg_co2: float | None
    factors: tuple[CarbonFactor, ...]


def plan_rollup(
    names: Iterable[WindowName], to: datetime, zone: ZoneInfo, factors: Sequence[CarbonFactor] = ()
) -> RollupPlan:
    """Plan the named windows that end at `to`, cut where a factor begins or ends to be valid."""
    windows = []
    for name in names:
        begin, end = window_bounds(name, to, zone)
        segments = split_by_tier(begin, end, zone, factor_cuts(factors, begin, end))
        windows.append(WindowPlan(name, begin, end, tuple(segments)))
    needed = {segment for window in windows for segment in window.segments}
    atoms: dict[Tier, tuple[Segment, ...]] = {
        # Whole days are disjoint as they are; the others overlap where windows do.
        "1d": tuple(sorted((each for each in needed if each.tier == "1d"), key=lambda each: each.from_)),
        "15m": _atoms("15m", needed),
        "1m": _atoms("1m", needed),
    }
    return RollupPlan(tuple(windows), atoms)


def roll_up(
    plan: RollupPlan,
    sums: Mapping[Segment, ScopeSums],
    *,
    top_count: int,
    generation_count: int,
    factors: Sequence[CarbonFactor],
    basis: CarbonBasis,
) -> list[RollingWindow]:
    """Return the figures of every window from the sums of the plan's atoms; an absent atom holds nothing known.

    `top_count` and `generation_count` are the numbers of meters behind the two halves of ScopeSums. Avoided
    emissions are given for the basis "grid_import" only, since only there export leaves the site.
    """
    return [
        _window(window, _pieces(window, plan.atoms, sums, factors), top_count, generation_count, factors, basis)
        for window in plan.windows
    ]


@dataclass(frozen=True, slots=True)
class _Piece:
    from_: datetime
    to: datetime
    factor: CarbonFactor | None
    sums: ScopeSums


def _pieces(
    window: WindowPlan,
    atoms: Mapping[Tier, tuple[Segment, ...]],
    sums: Mapping[Segment, ScopeSums],
    factors: Sequence[CarbonFactor],
) -> list[_Piece]:
    pieces = []
    begins = {tier: [atom.from_ for atom in of_tier] for tier, of_tier in atoms.items()}
    for factor, group in groupby(window.segments, key=lambda segment: factor_at(factors, segment.from_)):
        segments = list(group)
        parts = (
            sums.get(atom, NOTHING)
            for segment in segments
            for atom in _within(segment, atoms[segment.tier], begins[segment.tier])
        )
        pieces.append(_Piece(segments[0].from_, segments[-1].to, factor, reduce(ScopeSums.__add__, parts, NOTHING)))
    return pieces


def _window(
    window: WindowPlan,
    pieces: Sequence[_Piece],
    top_count: int,
    generation_count: int,
    factors: Sequence[CarbonFactor],
    basis: CarbonBasis,
) -> RollingWindow:
    total = reduce(ScopeSums.__add__, (piece.sums for piece in pieces), NOTHING)
    length_s = (window.to - window.from_).total_seconds()
    carbon = emissions_kg(
        (EnergyPeriod(each.from_, each.to, _basis_kwh(each.sums, generation_count, basis)) for each in pieces), factors
    )
    measured = _plus(total.top.import_kwh, total.top.export_kwh)
    return RollingWindow(
        name=window.name,
        from_=window.from_,
        to=window.to,
        import_kwh=total.top.import_kwh,
        export_kwh=total.top.export_kwh,
        net_kwh=total.top.net_kwh,
        generation_kwh=total.generation.export_kwh,
        consumption_kwh=_consumption_kwh(total, generation_count),
        coverage=_share(total.top.covered_s, top_count * length_s),
        generation_coverage=_share(total.generation.covered_s, generation_count * length_s),
        estimated_share=None if measured is None else _share(total.top.estimated_kwh, measured) or 0.0,
        kg_co2=carbon.kg,
        carbon_coverage=carbon.coverage,
        avoided_kg_co2=_avoided_kg(pieces) if basis == "grid_import" else None,
        factors=tuple(piece.factor for piece in pieces if piece.factor is not None),
    )


def _basis_kwh(sums: ScopeSums, generation_count: int, basis: CarbonBasis) -> float | None:
    return sums.top.import_kwh if basis == "grid_import" else _consumption_kwh(sums, generation_count)


def _consumption_kwh(sums: ScopeSums, generation_count: int) -> float | None:
    """Net energy and own generation [kWh]; unknown when PV meters exist but what they generated is not known."""
    net = sums.top.net_kwh
    if net is None or not generation_count:
        return net
    return None if sums.generation.export_kwh is None else net + sums.generation.export_kwh


def _avoided_kg(pieces: Sequence[_Piece]) -> float | None:
    """Self-used PV times the factor [kg CO2]; what others export at the incomer never makes it negative."""
    kg = None
    for piece in pieces:
        generated = piece.sums.generation.export_kwh
        if generated is not None and piece.sums.top.net_kwh is not None and piece.factor is not None:
            self_used = max(0.0, generated - (piece.sums.top.export_kwh or 0.0))
            kg = _plus(kg, self_used * piece.factor.kg_per_kwh)
    return kg


def _atoms(tier: Tier, segments: Iterable[Segment]) -> tuple[Segment, ...]:
    of_tier = [segment for segment in segments if segment.tier == tier]
    edges = sorted({edge for segment in of_tier for edge in (segment.from_, segment.to)})
    place = {edge: number for number, edge in enumerate(edges)}
    opened = [0] * len(edges)
    for segment in of_tier:
        opened[place[segment.from_]] += 1
        opened[place[segment.to]] -= 1
    return tuple(
        Segment(tier, begin, end)
        for (begin, end), open_here in zip(pairwise(edges), accumulate(opened), strict=False)
        if open_here
    )


def _within(segment: Segment, atoms: Sequence[Segment], begins: Sequence[datetime]) -> Iterator[Segment]:
    """Yield the atoms that a segment is made of; atoms are disjoint and in order, `begins` is where each one begins."""
    yield from atoms[bisect_left(begins, segment.from_) : bisect_left(begins, segment.to)]


def _plus(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _share(part: float, whole: float) -> float | None:
    return min(1.0, part / whole) if whole > 0 else None
