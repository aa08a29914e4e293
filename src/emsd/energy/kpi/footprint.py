"""The footprint of products: energy and emissions of production stages, shared out by area and mask passes.

The share of product p in stage s is A_p(s) m(p, s) / sum over q of A_q(s) m(q, s): processed area times mask passes.
Each kilowatt-hour goes to the products in the stage, scrap included, and a product's burden is borne by its good units:
that is E_s m(p, s) / (sum of A_q m(q, s)) / yield for each square metre of good product (after ISO 14067: allocation by
a physical relationship).

Burdens of areas that no product passes (utilities, offices, losses) are spread over the stages first, by a key for each
area. What cannot be spread, or has no product in its stage, is reported; nothing gets lost on the way:

    products + not allocated = burdens
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

__all__ = [
    "AllocationKey",
    "Burden",
    "Footprint",
    "Output",
    "ProductFootprint",
    "SharedBurden",
    "Unallocated",
    "footprint",
]


@dataclass(frozen=True, slots=True)
class Burden:
    """Energy [kWh], emissions of that energy [kg CO2] and direct emissions (Scope 1) [kg CO2e]."""

    kwh: float = 0.0
    kg_co2: float = 0.0
    direct_kg_co2e: float = 0.0

    def __add__(self, other: Burden) -> Burden:
        return Burden(self.kwh + other.kwh, self.kg_co2 + other.kg_co2, self.direct_kg_co2e + other.direct_kg_co2e)

    def times(self, share: float) -> Burden:
        """Return this share of it."""
        return Burden(self.kwh * share, self.kg_co2 * share, self.direct_kg_co2e * share)

    @property
    def total_kg_co2e(self) -> float:
        """Emissions of the energy and direct ones [kg CO2e]."""
        return self.kg_co2 + self.direct_kg_co2e


NOTHING: Final = Burden()


class AllocationKey(StrEnum):
    """How the burden of a shared area is spread over the stages."""

    STAGE_ENERGY = "stage_energy"
    """In proportion to the energy of the stages themselves."""
    FLOOR_AREA = "floor_area"
    """In proportion to the floor area of the stages."""
    SHARES = "shares"
    """By fixed shares, from a study of who uses what."""
    NONE = "none"
    """Not at all: it is no part of the products' footprint, and is reported."""


@dataclass(frozen=True, slots=True)
class SharedBurden:
    """What an area that no product passes has used; `shares` by stage, for AllocationKey.SHARES."""

    area: str
    burden: Burden
    key: AllocationKey = AllocationKey.STAGE_ENERGY
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Output:
    """What was made of one product.

    area_m2     of one unit [m2]
    passes      stage -> mask passes of one unit
    processed   stage -> units that went through the stage, scrap included
    good_units  units that left the line; None while nobody has counted them
    """

    product: str
    area_m2: float
    passes: Mapping[str, float]
    processed: Mapping[str, float]
    good_units: float | None

    def weight(self, stage: str) -> float:
        """Return processed area times passes at a stage [m2]."""
        return self.processed.get(stage, 0.0) * self.area_m2 * self.passes.get(stage, 0.0)


@dataclass(frozen=True, slots=True)
class ProductFootprint:
    """The burden of one product, stage by stage; what is per unit and per m2 is None without good units."""

    product: str
    by_stage: Mapping[str, Burden]
    good_units: float | None
    good_area_m2: float | None

    @property
    def total(self) -> Burden:
        """The burden of all stages."""
        return sum(self.by_stage.values(), NOTHING)

    @property
    def per_unit(self) -> Burden | None:
        """The burden of a good unit."""
        return self.total.times(1 / self.good_units) if self.good_units else None

    @property
    def per_m2(self) -> Burden | None:
        """The burden of a square metre of good product."""
        return self.total.times(1 / self.good_area_m2) if self.good_area_m2 else None


@dataclass(frozen=True, slots=True)
class Unallocated:
    """A burden that no product bears, and why."""

    what: str
    burden: Burden
    reason: str


@dataclass(frozen=True, slots=True)
class Footprint:
    """All products, and what none of them bears; together they are all burdens."""

    products: tuple[ProductFootprint, ...]
    unallocated: tuple[Unallocated, ...]

    @property
    def allocated(self) -> Burden:
        """The burden of all products."""
        return sum((each.total for each in self.products), NOTHING)

    @property
    def total(self) -> Burden:
        """Everything that came in."""
        return sum((each.burden for each in self.unallocated), self.allocated)


def footprint(
    stages: Mapping[str, Burden],
    shared: Iterable[SharedBurden],
    outputs: Sequence[Output],
    floor_area_m2: Mapping[str, float] | None = None,
) -> Footprint:
    """Return the footprint of every product.

    stages         burden of each production stage's own areas
    shared         burdens of all other areas, with their keys
    outputs        what was made
    floor_area_m2  stage -> floor area [m2], for AllocationKey.FLOOR_AREA
    """
    weights = {stage: [output.weight(stage) for output in outputs] for stage in stages}
    whole = dict(stages)
    unallocated: list[Unallocated] = []
    for each in shared:
        parts = _parts(each, stages, floor_area_m2 or {})
        if not parts:
            unallocated.append(Unallocated(f"area {each.area}", each.burden, _why_not(each)))
        for stage, share in parts.items():
            whole[stage] += each.burden.times(share)
        rest = 1 - sum(parts.values())
        if parts and each.key is AllocationKey.SHARES and rest > _ROUNDING:
            what = f"area {each.area}, rest of its shares"
            unallocated.append(Unallocated(what, each.burden.times(rest), "the shares do not add up to 1"))
    by_product: dict[int, dict[str, Burden]] = {place: {} for place in range(len(outputs))}
    for stage, burden in whole.items():
        total = sum(weights[stage])
        if total <= 0:
            if burden != NOTHING:
                unallocated.append(Unallocated(f"stage {stage}", burden, "no product passed it in this period"))
            continue
        for place, weight in enumerate(weights[stage]):
            if weight > 0:
                by_product[place][stage] = burden.times(weight / total)
    products = [
        ProductFootprint(
            output.product,
            by_product[place],
            output.good_units,
            None if output.good_units is None else output.good_units * output.area_m2,
        )
        for place, output in enumerate(outputs)
    ]
    return Footprint(tuple(products), tuple(unallocated))


_ROUNDING: Final = 1e-9


def _parts(each: SharedBurden, stages: Mapping[str, Burden], floor_area_m2: Mapping[str, float]) -> dict[str, float]:
    """Return the share of each stage; empty when the burden cannot be spread."""
    if each.key is AllocationKey.NONE:
        return {}
    if each.key is AllocationKey.SHARES:
        return {stage: share for stage, share in each.shares.items() if stage in stages and share > 0}
    if each.key is AllocationKey.FLOOR_AREA:
        weights = {stage: floor_area_m2.get(stage, 0.0) for stage in stages}
    else:
        weights = {stage: max(burden.kwh, 0.0) for stage, burden in stages.items()}
    total = sum(weights.values())
    return {stage: weight / total for stage, weight in weights.items() if weight > 0} if total > 0 else {}


def _why_not(each: SharedBurden) -> str:
    reasons = {
        AllocationKey.NONE: "the plant file says that products do not bear it",
        AllocationKey.SHARES: "its shares name no stage that a product passes",
        AllocationKey.FLOOR_AREA: "no stage has a floor area",
        AllocationKey.STAGE_ENERGY: "no stage used energy in this period",
    }
    return reasons[each.key]
