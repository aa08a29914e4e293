"""Scope 2 explained: kilowatt-hours times factors, by publication and by certificate, slot by slot of the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from emsd.api.explained.form import Part, Source, energy_path, first_parts, times
from emsd.energy.ledger.inputs import FactorColumn, FactorUse, LedgerInputs, MeterColumn
from emsd.energy.ledger.matching import Matched
from emsd.energy.ledger.scope2 import Level, Scope2
from emsd.readings import instant_us

__all__ = ["location_parts", "market_parts", "meter_sources", "scope2_sources"]

_BY_FACTOR: Final[tuple[Level, ...]] = ("supplier", "residual", "location")
_TITLES: Final[dict[str, str]] = {
    "supplier": "by the supplier's factor",
    "residual": "by the residual mix",
    "location": "by the factor of the grid, as no residual mix is known",
}


def location_parts(inputs: LedgerInputs, electricity: Scope2) -> list[Part]:
    """Return a part for each publication of a location-based factor, with its months."""
    kwh = [slot.import_kwh for slot in electricity.slots]
    kg = [slot.location_kg for slot in electricity.slots]
    return list(_by_use(inputs, inputs.location, kwh, kg, "grid energy"))


def market_parts(inputs: LedgerInputs, electricity: Scope2) -> list[Part]:
    """Return a part for each certificate and contract, and one for each factor that the rest went by."""
    parts = [_instrument(inputs, each) for each in electricity.matched]
    columns = {"supplier": inputs.supplier, "residual": inputs.residual, "location": inputs.location}
    for level in _BY_FACTOR:
        kwh = [slot.by_level_kwh[level] or None for slot in electricity.slots]
        kg = [_times(one, factor) for one, factor in zip(kwh, columns[level].kg_per_kwh, strict=True)]
        parts += _by_use(inputs, columns[level], kwh, kg, f"energy {_TITLES[level]}")
    without = sum((slot.by_level_kwh["none"] for slot in electricity.slots), Decimal(0))
    if without:
        parts.append(_without(without, "energy without a factor of any kind"))
    sold = sum((slot.sold_pv_kwh for slot in electricity.slots), Decimal(0))
    if sold:
        remark = "it is in the energies above: its certificates were sold, so it carries the residual mix"
        parts.append(
            Part(what="own PV whose certificates were sold", figure=float(sold), unit="kWh", sign="", remark=remark)
        )
    return parts


def _by_use(
    inputs: LedgerInputs,
    column: FactorColumn,
    kwh: Sequence[Decimal | None],
    kg: Sequence[Decimal | None],
    what: str,
) -> Iterator[Part]:
    """Yield the slots of each publication together; those without a factor stand beside."""
    for number, use in enumerate(column.uses):
        places = [place for place, of_slot in enumerate(column.use) if of_slot == number and kg[place] is not None]
        if not places:
            continue
        energy, emitted = _sum(kwh[place] for place in places), _sum(kg[place] for place in places)
        yield Part(
            what=f"{what}, {_name(use)}",
            figure=float(emitted),
            unit="kgCO2e",
            how=_how(energy, emitted, use),
            facts={"energy_kwh": float(energy), "source": use.source, "version": use.version},
            parts=first_parts(list(_months(inputs, places, kwh, kg, use))),
        )
    without = [one for one, used in zip(kwh, column.use, strict=True) if used is None and one]
    if without and column is inputs.location and what == "grid energy":
        yield _without(_sum(without), "grid energy without a location-based factor")


def _months(
    inputs: LedgerInputs,
    places: Sequence[int],
    kwh: Sequence[Decimal | None],
    kg: Sequence[Decimal | None],
    use: FactorUse,
) -> Iterator[Part]:
    for month in inputs.months:
        inside = [place for place in places if month.begins_at <= inputs.edges[place] < month.ends_at]
        if inside:
            energy, emitted = _sum(kwh[place] for place in inside), _sum(kg[place] for place in inside)
            yield Part(
                what=month.name,
                figure=float(emitted),
                unit="kgCO2e",
                how=_how(energy, emitted, use),
                from_=month.begins_at,
                to=month.ends_at,
                facts={"energy_kwh": float(energy), "slots": len(inside)},
            )


def _instrument(inputs: LedgerInputs, matched: Matched) -> Part:
    one = matched.instrument
    surplus = matched.available_kwh - matched.matched_kwh
    retired = [each for each in one.allocations if each.kind == "retire"]
    return Part(
        what=f"{one.level} {one.instrument_id}, {one.kind} {one.serial}",
        figure=float(matched.matched_kwh * one.kg_per_kwh),
        unit="kgCO2e",
        how=times((float(matched.matched_kwh), "kWh covered"), (float(one.kg_per_kwh), "kg/kWh")),
        facts={
            "registry": one.registry,
            "energy_source": one.energy_source,
            "available_kwh": float(matched.available_kwh),
            "matched_kwh": float(matched.matched_kwh),
            "matching": inputs.matching,
        },
        remark=f"{float(surplus):g} kWh cover nothing: {matched.reason or 'they exceed the use in their period'}"
        if surplus >= 1
        else "",
        parts=[
            Part(
                what=f"retirement, event {each.event_id}",
                figure=float(each.energy_kwh),
                unit="kWh",
                sign="",
                from_=each.period_from,
                to=each.period_to,
            )
            for each in retired
        ],
    )


def meter_sources(inputs: LedgerInputs) -> list[Source]:
    """Return every meter of the ledger with what it counted, month by month together."""
    return [
        Source(
            kind="grid meter" if meter.role == "grid" else "meter of own PV",
            name=meter.key,
            facts={
                "import_kwh": _known(meter.import_kwh),
                "export_kwh": _known(meter.export_kwh),
                "computed_at": None if meter.computed_at is None else meter.computed_at.isoformat(),
                "versions_of_the_rules": list(meter.versions),
            },
            explain=_path(meter, inputs.period_from, inputs.period_to),
        )
        for meter in inputs.meters
    ]


def scope2_sources(inputs: LedgerInputs, columns: Iterable[FactorColumn]) -> list[Source]:
    """Return the publications of these factors, and the certificates and contracts with what was done with them."""
    found = [
        Source(kind="carbon factor", name=_name(use), facts=use.model_dump(mode="json"))
        for column in columns
        for use in column.uses
    ]
    return found + [
        Source(
            kind=each.level,
            name=f"{each.kind} {each.serial}, number {each.instrument_id}",
            facts=each.model_dump(mode="json", exclude={"serial", "kind", "instrument_id", "level"}),
        )
        for each in inputs.instruments
    ]


def _name(use: FactorUse) -> str:
    return f"{use.region}, {use.method}, version {use.version}" + (" by the hour" if use.resolution == "hour" else "")


def _how(energy: Decimal, emitted: Decimal, use: FactorUse) -> str:
    if use.kg_per_kwh is not None:
        return times((float(energy), "kWh"), (float(use.kg_per_kwh), "kg/kWh"))
    mean = f", {float(emitted / energy):.6g} kg/kWh in the mean" if energy else ""
    return f"{times((float(energy), 'kWh'))}, each hour with its own factor{mean}"


def _without(kwh: Decimal, what: str) -> Part:
    remark = f"{float(kwh):g} kWh are in no figure; enter a factor for their time"
    return Part(what=what, figure=None, unit="kgCO2e", sign="", facts={"energy_kwh": float(kwh)}, remark=remark)


def _path(meter: MeterColumn, from_: datetime, to: datetime) -> str:
    return energy_path(meter.key, instant_us(from_), instant_us(to))


def _times(kwh: Decimal | None, factor: Decimal | None) -> Decimal | None:
    return None if kwh is None or factor is None else kwh * factor


def _sum(values: Iterable[Decimal | None]) -> Decimal:
    return sum((each for each in values if each is not None), Decimal(0))


def _known(values: Iterable[Decimal | None]) -> float | None:
    known = [each for each in values if each is not None]
    return float(_sum(known)) if known else None
