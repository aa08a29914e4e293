"""A month's electricity bill: the energy, and what is charged by the month beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from emsd.energy.cost import EnergyCost
from emsd.energy.power_factor import adjustment_percent

__all__ = ["Bill", "DemandBasis", "MonthlyTerms", "bill", "summed_bill"]

DemandBasis: TypeAlias = Literal["maximum_demand", "contract_demand", "contract_capacity"]
"""What the demand charge is for: the month's highest block [kW], the agreed demand [kW], or the transformers [kVA]."""


@dataclass(frozen=True, slots=True)
class MonthlyTerms:
    """What a tariff charges by the month, beside the energy.

    demand_basis            None: no demand charge
    demand_price_per_month  [currency/kW] or, for contract_capacity, [currency/kVA]
    contract_capacity_kva   [kVA], for contract_capacity only
    power_factor_percent    percent for each power factor 0.00, 0.01, ... 1.00; None: no adjustment
    fixed_per_month         [currency]
    tax_percent             on everything but the feed-in credit [%]
    """

    demand_basis: DemandBasis | None = None
    demand_price_per_month: float = 0.0
    contract_capacity_kva: float | None = None
    power_factor_percent: tuple[float, ...] | None = None
    fixed_per_month: float = 0.0
    tax_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class Bill:
    """A month's bill in the tariff's currency; None is unknown, never 0, and makes the total unknown too.

    energy              cost of the energy drawn
    levies              of the same energy
    demand_billed       what the demand charge is for [kW], [kVA] for contract_capacity
    demand_charge       0 without a demand charge
    power_factor        mean power factor of the month
    power_factor_percent, power_factor_adjustment  of energy and demand charge; 0 without a table
    fixed_charge        per month
    tax                 on all of the above
    feed_in_credit      for the energy given to the grid, taken off; None where nothing was given
    total               what is to be paid
    """

    energy: float | None
    levies: float | None
    demand_billed: float | None
    demand_charge: float | None
    power_factor: float | None
    power_factor_percent: float | None
    power_factor_adjustment: float | None
    fixed_charge: float
    tax: float | None
    feed_in_credit: float | None
    total: float | None


def bill(
    energy: EnergyCost,
    terms: MonthlyTerms,
    *,
    maximum_demand_kw: float | None,
    contract_demand_kw: float | None,
    power_factor: float | None,
) -> Bill:
    """Return the bill of one month.

    The power factor changes energy and demand charge, not levies (China, (83) Shui Dian Cai Zi No. 215: the month's
    electricity charge, which is the basic and the energy charge).
    """
    billed = _billed(terms, maximum_demand_kw, contract_demand_kw)
    demand_charge = 0.0 if terms.demand_basis is None else _product(billed, terms.demand_price_per_month)
    table = terms.power_factor_percent
    percent = 0.0 if table is None else None if power_factor is None else adjustment_percent(power_factor, table)
    adjusted = _product(_sum(energy.cost, demand_charge), percent)
    adjustment = None if adjusted is None else adjusted / 100
    net = _sum(energy.cost, energy.levies, demand_charge, adjustment, terms.fixed_per_month)
    tax = None if net is None else net * terms.tax_percent / 100
    gross = _sum(net, tax)
    return Bill(
        energy=energy.cost,
        levies=energy.levies,
        demand_billed=billed,
        demand_charge=demand_charge,
        power_factor=power_factor,
        power_factor_percent=percent,
        power_factor_adjustment=adjustment,
        fixed_charge=terms.fixed_per_month,
        tax=tax,
        feed_in_credit=energy.feed_in_credit,
        total=None if gross is None else gross - (energy.feed_in_credit or 0.0),
    )


def summed_bill(bills: Sequence[Bill]) -> Bill | None:
    """Return the bills of several months together; None without any. A power factor is one of a month."""
    if not bills:
        return None
    credit = [each.feed_in_credit for each in bills if each.feed_in_credit is not None]
    return Bill(
        energy=_sum(*(each.energy for each in bills)),
        levies=_sum(*(each.levies for each in bills)),
        demand_billed=None,
        demand_charge=_sum(*(each.demand_charge for each in bills)),
        power_factor=None,
        power_factor_percent=None,
        power_factor_adjustment=_sum(*(each.power_factor_adjustment for each in bills)),
        fixed_charge=sum(each.fixed_charge for each in bills),
        tax=_sum(*(each.tax for each in bills)),
        feed_in_credit=sum(credit) if credit else None,
        total=_sum(*(each.total for each in bills)),
    )


def _billed(terms: MonthlyTerms, maximum_demand_kw: float | None, contract_demand_kw: float | None) -> float | None:
    match terms.demand_basis:
        case "maximum_demand":
            return maximum_demand_kw
        case "contract_demand":
            return contract_demand_kw
        case "contract_capacity":
            return terms.contract_capacity_kva
        case None:
            return None


def _sum(*parts: float | None) -> float | None:
    return None if any(part is None for part in parts) else sum(part for part in parts if part is not None)


def _product(amount: float | None, factor: float | None) -> float | None:
    return None if amount is None or factor is None else amount * factor
