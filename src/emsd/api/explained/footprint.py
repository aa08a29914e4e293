"""The footprint of a product explained: areas, allocation keys, the product's share of each stage, and their sum.

The footprint is linear in what the areas used once the keys are known, so what an area contributes to a product is the
footprint with it less the footprint without it, by the very functions that answer the footprint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from emsd.api.area_uses import AreaUse, area_uses
from emsd.api.dependencies import Configuration
from emsd.api.explained.form import Explanation, Part, Rule, Source, added, judged, times
from emsd.api.product_footprint import FootprintAnswer, direct_kg_by_area, footprint_of, outputs_of
from emsd.energy.kpi.footprint import AllocationKey, Burden, Output, ProductFootprint
from emsd.energy.ledger.gwp import GWP_SOURCES, GwpSet
from emsd.errors import UnknownEntry
from emsd.plant.production import AreaAllocation
from emsd.store.activities import read_activities
from emsd.store.pool import Pool
from emsd.store.production import read_gwp_set, read_production
from emsd.store.production_counts import read_output_sums
from emsd.store.reads import snapshot

__all__ = ["FootprintMeasure", "explain_footprint"]

FootprintMeasure: TypeAlias = Literal["kwh", "kg_co2e"]
_UNITS: dict[FootprintMeasure, str] = {"kwh": "kWh", "kg_co2e": "kgCO2e"}
_SOURCE = "after ISO 14067: allocation by a physical relationship"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the areas used and emitted, what was made, and by which keys it is shared out."""

    configuration: Configuration
    uses: Mapping[str, AreaUse]
    direct_kg: Mapping[str, float]
    outputs: Sequence[Output]
    allocation: Sequence[AreaAllocation]
    measure: FootprintMeasure

    def answer(self, areas: set[str]) -> FootprintAnswer:
        """Return the footprint of what only these areas used."""
        return footprint_of(
            self.configuration.plant,
            {area: use for area, use in self.uses.items() if area in areas},
            self.outputs,
            self.allocation,
            {area: kg for area, kg in self.direct_kg.items() if area in areas},
        )

    def stage_of(self, area: str) -> str | None:
        """Return the production stage that an area itself belongs to, None for a shared one."""
        row = self.configuration.plant.area_by_key.get(area)
        stages = {stage for output in self.outputs for stage in output.passes}
        return row.stage if row is not None and row.stage in stages else None

    def amount(self, burden: Burden) -> float:
        """Return what is asked for of a burden."""
        return burden.kwh if self.measure == "kwh" else burden.total_kg_co2e


async def explain_footprint(
    pool: Pool, configuration: Configuration, product: str, from_: datetime, to: datetime, measure: FootprintMeasure
) -> Explanation:
    """Return the footprint of all that was made of a product in [from_, to), full quarter hours.

    Raises:
        UnknownEntry: there is no such product.
        StoreUnavailable: the database cannot be reached now.
    """
    site_id = configuration.plant.site.site_id
    async with snapshot(pool, "explain the footprint of a product") as connection:
        production = await read_production(connection, site_id)
        uses = await area_uses(connection, configuration.plant, configuration.location, from_, to)
        activities = await read_activities(connection, site_id, from_, to)
        gwp_set = await read_gwp_set(connection, site_id)
        sums = await read_output_sums(connection, site_id, production.counters, from_, to)
    outputs, _ = outputs_of(production.products, sums)
    direct_kg = direct_kg_by_area(configuration.plant, activities, gwp_set, from_, to)
    asked = _Asked(configuration, uses, direct_kg, outputs, production.allocation, measure)
    place = next((number for number, each in enumerate(outputs) if each.product == product), None)
    if place is None:
        known = ", ".join(each.product for each in outputs) or "none"
        raise UnknownEntry(f"there is no product {product!r}; the plant's products are: {known}")
    whole = asked.answer({*uses, *direct_kg})
    found = whole.footprint.products[place]
    parts = list(_stages(asked, place))
    figure, recomputed = asked.amount(found.total), added(parts) or 0.0
    unit = _UNITS[measure]
    agrees, remark = judged(figure, recomputed, unit, _reasons(whole, found))
    return Explanation(
        kind="footprint",
        of=f"{'energy' if measure == 'kwh' else 'emissions'} of all {production.products[product].name}",
        field="/api/v1/footprint products.total." + ("energy_kwh" if measure == "kwh" else "total_kg_co2e"),
        from_=from_,
        to=to,
        time_zone=configuration.plant.site.time_zone,
        figure=figure,
        unit=unit,
        recomputed=recomputed,
        agrees=agrees,
        remark=remark,
        parts=[*parts, *_per_unit(asked, found, unit)],
        rules=_rules(asked, whole, gwp_set),
        sources=_sources(asked, outputs[place]),
    )


def _stages(asked: _Asked, place: int) -> Iterator[Part]:
    """Yield each stage that the product passes, area by area."""
    areas = {*asked.uses, *asked.direct_kg}
    own = {area for area in areas if asked.stage_of(area) is not None}
    of_stages = asked.answer(own)
    shared = {area: asked.answer({*own, area}) for area in sorted(areas - own)}
    output = asked.outputs[place]
    for stage in output.passes:
        weights = [each.weight(stage) for each in asked.outputs]
        if not weights[place]:
            continue
        share = weights[place] / sum(weights)
        without = _burden(of_stages, place, stage)
        parts = [_own(asked, area, share) for area in sorted(own) if asked.stage_of(area) == stage]
        for area, answer in shared.items():
            amount = asked.amount(_burden(answer, place, stage)) - asked.amount(without)
            if amount:
                parts.append(_shared(asked, answer, area, amount))
        yield Part(
            what=f"stage {stage}",
            figure=added(parts) or 0.0,
            unit=_UNITS[asked.measure],
            how=f"{100 * share:.6g} % of the stage: {weights[place]:g} of {sum(weights):g} m2 x passes",
            facts={
                "processed_units": output.processed.get(stage),
                "passes": output.passes[stage],
                "area_m2": output.area_m2,
                "share_of_the_stage": share,
            },
            parts=parts,
        )


def _burden(answer: FootprintAnswer, place: int, stage: str) -> Burden:
    return answer.footprint.products[place].by_stage.get(stage, Burden())


def _area_burden(asked: _Asked, area: str) -> Burden:
    use = asked.uses.get(area)
    direct_kg = asked.direct_kg.get(area, 0.0)
    return Burden(0.0, 0.0, direct_kg) if use is None else Burden(use.kwh, use.kg_co2, direct_kg)


def _facts(burden: Burden) -> dict[str, float]:
    return {"energy_kwh": burden.kwh, "kg_co2": burden.kg_co2, "direct_kg_co2e": burden.direct_kg_co2e}


def _own(asked: _Asked, area: str, share: float) -> Part:
    burden = _area_burden(asked, area)
    amount, unit = asked.amount(burden), _UNITS[asked.measure]
    return Part(
        what=f"area {area}",
        figure=amount * share,
        unit=unit,
        how=times((amount, unit), (share, "of the stage")),
        facts=_facts(burden),
    )


def _shared(asked: _Asked, answer: FootprintAnswer, area: str, amount: float) -> Part:
    burden, unit = _area_burden(asked, area), _UNITS[asked.measure]
    key = next((each.key.value for each in answer.shared if each.area == area), "")
    whole = asked.amount(burden)
    share = f"{100 * amount / whole:.6g} % of its {whole:.12g} {unit}" if whole else ""
    return Part(
        what=f"shared area {area}",
        figure=amount,
        unit=unit,
        how=f"{share}, by {key.replace('_', ' ')}",
        facts=_facts(burden) | {"allocation_key": key},
    )


def _per_unit(asked: _Asked, found: ProductFootprint, unit: str) -> list[Part]:
    """Return the figure by good unit and by area of them, which stand beside."""
    amounts = (("per good unit", found.per_unit, found.good_units), ("per good m2", found.per_m2, found.good_area_m2))
    return [
        Part(what=what, figure=asked.amount(burden), unit=unit, sign="", how=f"/ {number:g}")
        for what, burden, number in amounts
        if burden is not None
    ]


def _reasons(whole: FootprintAnswer, found: ProductFootprint) -> list[str]:
    reasons = [
        f"{each.what} is in no product: {each.reason}"
        for each in whole.footprint.unallocated
        if each.burden != Burden()
    ]
    if found.good_units is None:
        reasons.append("nobody has counted good units, so there is no figure for one")
    if whole.carbon_coverage is not None and whole.carbon_coverage < 1 - 1e-9:
        reasons.append(f"{100 * whole.carbon_coverage:.4g} % of the energy has a carbon factor")
    return reasons


def _rules(asked: _Asked, whole: FootprintAnswer, gwp_set: GwpSet) -> list[Rule]:
    share = "processed units x area x passes of the product over those of all products"
    rules = [Rule(name="share of a stage", rule=share, source=_SOURCE)]
    rules += [Rule(name=f"area {each.area}", rule=_key_in_words(each.key)) for each in whole.shared]
    if asked.measure == "kg_co2e":
        rules.append(Rule(name="energy", rule="location-based, as if all of it came from the grid"))
        rules.append(Rule(name="direct emissions", rule=f"Scope 1, GWP of {gwp_set}", source=GWP_SOURCES[gwp_set]))
    return rules


def _key_in_words(key: AllocationKey) -> str:
    if key is AllocationKey.NONE:
        return "products do not bear it, as the plant's description says"
    return f"spread over the stages by {key.value.replace('_', ' ')}"


def _sources(asked: _Asked, output: Output) -> list[Source]:
    counts = {"processed": dict(output.processed), "good_units": output.good_units}
    found = [Source(kind="production counts", name=output.product, facts=counts)]
    found += [
        Source(
            kind="area",
            name=area,
            facts={"energy_kwh": use.kwh, "kg_co2": use.kg_co2, "coverage": use.coverage, "meters": use.meters},
        )
        for area, use in asked.uses.items()
    ]
    if asked.measure == "kg_co2e":
        found += [
            Source(
                kind="carbon factor",
                name=f"{each.region}, {each.method}, version {each.version}",
                facts={"kg_per_kwh": each.kg_per_kwh, "source": each.source, "valid_from": each.valid_from.isoformat()},
            )
            for each in asked.configuration.factors
            if each.method == "location"
        ]
    return found
