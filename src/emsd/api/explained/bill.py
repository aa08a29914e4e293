"""A month's bill explained: energy, levies, demand, power factor, fixed charge, tax and credit, and their sum."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from emsd.api.explained.form import Part, Rule, added, times
from emsd.energy.bill import MonthlyTerms, excess_of
from emsd.readings import to_datetime
from emsd.store.cost import MonthBill, WindowCost

__all__ = ["BesideEnergy", "bill_part", "bill_rules"]


@dataclass(frozen=True, slots=True)
class BesideEnergy:
    """What energy costs and brings beside its price: levies and credit, each price with its energy."""

    levies: Sequence[Part]
    credit: Sequence[Part]


def bill_part(month: WindowCost, energy: Sequence[Part], beside: BesideEnergy, currency: str) -> Part:
    """Return the bill of a month, put together anew; unknown when one of its parts is.

    energy  parts of the cost of the energy, rate by rate
    """
    window, bill = month.window, month.bill
    if bill is None or bill.tariff is None:
        return Part(
            what="month without a bill", figure=None, unit=currency, from_=window.from_, to=window.to,
            remark="it does not begin in this time, or no tariff is valid when it begins", parts=list(energy),
        )  # fmt: skip
    known = bill.bill.energy is not None
    parts = [
        _of_energy("energy", energy, currency, known=known),
        _of_energy("levies", beside.levies, currency, known=known),
        *_further(month, bill, bill.tariff.terms, currency),
    ]
    if bill.bill.feed_in_credit is not None:
        credit = _of_energy("feed-in credit", beside.credit, currency, known=True)
        parts.append(credit.model_copy(update={"sign": "-"}))
    unknown = [each.what for each in parts if each.sign and each.figure is None]
    return Part(
        what="bill of a month",
        figure=None if unknown else added(parts),
        unit=currency,
        how=f"by the tariff {bill.tariff.key} with which the month begins",
        from_=window.from_,
        to=window.to,
        facts={"tariff": bill.tariff.key, "total": bill.bill.total, "complete": window.complete},
        remark=f"unknown: {', '.join(unknown)}" if unknown else "",
        parts=parts,
    )


def _of_energy(what: str, parts: Sequence[Part], currency: str, *, known: bool) -> Part:
    return Part(
        what=what,
        figure=(added(parts) or 0.0) if known else None,
        unit=currency,
        how="sum over the rates",
        remark="" if known else "no energy is known, or some of it has no price",
        parts=list(parts),
    )


def _further(month: WindowCost, bill: MonthBill, terms: MonthlyTerms, currency: str) -> Iterator[Part]:
    made = bill.bill
    if terms.demand_basis is not None:
        yield _demand(month, bill, terms, currency)
    if terms.demand_excess:
        yield _surcharge(bill, terms, currency)
    if terms.power_factor_percent is not None:
        yield _power_factor(month, bill, currency)
    yield Part(what="fixed charge", figure=made.fixed_charge, unit=currency)
    if terms.tax_percent:
        how = f"{terms.tax_percent:g} % of all of the above"
        yield Part(what="tax", figure=made.tax, unit=currency, how=how)


def _demand(month: WindowCost, bill: MonthBill, terms: MonthlyTerms, currency: str) -> Part:
    unit = "kVA" if terms.demand_basis == "contract_capacity" else "kW"
    peak = bill.demand
    basis = (terms.demand_basis or "").replace("_", " ")
    parts = []
    if peak is not None:
        asked = urlencode({"from": month.window.from_.isoformat(), "to": month.window.to.isoformat()})
        parts.append(
            Part(
                what="highest block",
                figure=peak.demand_kw,
                unit="kW",
                sign="",
                from_=to_datetime(peak.from_us),
                explain=f"/api/v1/explain/demand?{asked}",
            )
        )
    facts = {
        "basis": basis,
        "billed": bill.bill.demand_billed,
        "contract_demand_kw": bill.contract_demand_kw,
        "minimum_share_of_contract": terms.demand_minimum_share,
        "untrusted_blocks": bill.untrusted_blocks,
    }
    remark = f"{bill.untrusted_blocks} blocks are not measured well enough to count" if bill.untrusted_blocks else ""
    return Part(
        what="demand charge",
        figure=bill.bill.demand_charge,
        unit=currency,
        how=times((bill.bill.demand_billed, unit), (terms.demand_price_per_month, f"{currency}/{unit}")) + f", {basis}",
        facts={name: value for name, value in facts.items() if value is not None},
        remark=remark,
        parts=parts,
    )


def _surcharge(bill: MonthBill, terms: MonthlyTerms, currency: str) -> Part:
    peak_kw = None if bill.demand is None else bill.demand.demand_kw
    price = terms.demand_price_per_month
    bands = excess_of(terms.demand_excess, peak_kw, bill.contract_demand_kw) or ()
    return Part(
        what="demand above what is agreed",
        figure=bill.bill.demand_surcharge,
        unit=currency,
        facts={"highest_kw": peak_kw, "contract_demand_kw": bill.contract_demand_kw},
        parts=[
            Part(
                what=f"above {band.above_share:g} times the agreed demand",
                figure=kw * factor * price,
                unit=currency,
                how=times((kw, "kW"), (price, f"{currency}/kW"), (factor, "")),
            )
            for band, (kw, factor) in zip(terms.demand_excess, bands, strict=False)
        ],
    )


def _power_factor(month: WindowCost, bill: MonthBill, currency: str) -> Part:
    made = bill.bill
    facts = {
        "power_factor": made.power_factor,
        "percent": made.power_factor_percent,
        "active_kwh": month.cost.drawn_kwh,
        "reactive_kvarh": None if bill.reactive is None else bill.reactive.kvarh,
        "reactive_source": None if bill.reactive is None else bill.reactive.source,
    }
    percent = "unknown" if made.power_factor_percent is None else f"{made.power_factor_percent:g}"
    return Part(
        what="power factor",
        figure=made.power_factor_adjustment,
        unit=currency,
        how=f"{percent} % of energy and demand; power factor = kWh / sqrt(kWh2 + kvarh2)",
        facts=facts,
        remark="" if bill.reactive is not None else "less than 90 % of the reactive energy is known",
    )


def bill_rules(months: Iterable[WindowCost], currency: str) -> list[Rule]:
    """Return what the tariffs of these months charge by the month."""
    found: dict[str, Rule] = {}
    for month in months:
        tariff = None if month.bill is None else month.bill.tariff
        if tariff is None:
            continue
        terms = tariff.terms
        said = [f"fixed {terms.fixed_per_month:g} {currency}", f"tax {terms.tax_percent:g} %"]
        if terms.demand_basis is not None:
            said.insert(0, f"{terms.demand_basis.replace('_', ' ')} at {terms.demand_price_per_month:g} {currency}")
        said += [
            f"demand above {each.above_share:g} of the agreed one {each.price_factor:g} times"
            for each in terms.demand_excess
        ]
        if terms.power_factor_percent is not None:
            said.append("power factor changes energy and demand charge by a table of percents")
        found[tariff.key] = Rule(name=f"month by tariff {tariff.key}", rule="; ".join(said), source=tariff.source)
    return list(found.values())
