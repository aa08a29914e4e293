"""A month's electricity bill: the energy, and what is charged by the month beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from emsd.energy.cost import EnergyCost
from emsd.energy.power_factor import adjustment_percent

__all__ = ["Bill", "DemandBasis", "ExcessBand", "MonthlyTerms", "bill", "excess_of", "summed_bill"]

DemandBasis: TypeAlias = Literal["maximum_demand", "contract_demand", "contract_capacity"]
"""What the demand charge is for: the month's highest block [kW], the agreed demand [kW], or the transformers [kVA]."""


_WHOLE: Final = 1 - 1e-9
"""Share from which on all energy has a price: sums of the same floats in another order differ that much."""


class ExcessBand(NamedTuple):
    """Demand above a share of the agreed one, up to the next band, and the multiple of the price that it costs."""

    above_share: float
    price_factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthlyTerms:
    """What a tariff charges by the month, beside the energy.

    demand_basis            None: no demand charge
    demand_price_per_month  [currency/kW] or, for contract_capacity, [currency/kVA]
    contract_capacity_kva   [kVA], for contract_capacity only
    demand_minimum_share    of the agreed demand that is billed at least, for maximum_demand; None: nothing
    demand_excess           bands above the agreed demand, ascending; not for contract_capacity
    power_factor_percent    percent for each power factor 0.00, 0.01, ... 1.00; None: no adjustment
    power_factor_rounds     whether the power factor is rounded to two decimals before that
    fixed_per_month         [currency]
    tax_percent             on everything but the feed-in credit [%]
    """

    demand_basis: DemandBasis | None = None
    demand_price_per_month: float = 0.0
    contract_capacity_kva: float | None = None
    demand_minimum_share: float | None = None
    demand_excess: tuple[ExcessBand, ...] = ()
    power_factor_percent: tuple[float, ...] | None = None
    power_factor_rounds: bool = True
    fixed_per_month: float = 0.0
    tax_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class Bill:
    """A month's bill in the tariff's currency; None is unknown, never 0, and makes the total unknown too.

    energy              cost of the energy drawn; unknown when some of it has no price
    levies              of the same energy
    demand_billed       what the demand charge is for [kW], [kVA] for contract_capacity
    demand_charge       0 without a demand charge
    demand_excess_kw    demand above where the bands of the tariff begin [kW]; 0 without bands
    demand_surcharge    for it; 0 without bands
    power_factor        mean power factor of the month
    power_factor_percent, power_factor_adjustment  of energy, demand charge and surcharge; 0 without a table
    fixed_charge        per month
    tax                 on all of the above
    feed_in_credit      for the energy given to the grid, taken off; None where nothing was given
    total               what is to be paid
    """

    energy: float | None
    levies: float | None
    demand_billed: float | None
    demand_charge: float | None
    demand_excess_kw: float | None
    demand_surcharge: float | None
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
    # The rest of the energy costs something too: a sum without it would be too low, and would not look it.
    known = energy.priced_share is None or energy.priced_share >= _WHOLE
    energy_cost, levies = (energy.cost, energy.levies) if known else (None, None)
    billed = _billed(terms, maximum_demand_kw, contract_demand_kw)
    demand_charge = 0.0 if terms.demand_basis is None else _product(billed, terms.demand_price_per_month)
    excess = excess_of(terms.demand_excess, maximum_demand_kw, contract_demand_kw)
    surcharge = None if excess is None else sum(kw * factor for kw, factor in excess) * terms.demand_price_per_month
    table = terms.power_factor_percent
    percent = 0.0 if table is None else None
    if table is not None and power_factor is not None:
        percent = adjustment_percent(power_factor, table, rounded=terms.power_factor_rounds)
    adjusted = 0.0 if table is None else _product(_sum(energy_cost, demand_charge, surcharge), percent)
    adjustment = None if adjusted is None else adjusted / 100
    net = _sum(energy_cost, levies, demand_charge, surcharge, adjustment, terms.fixed_per_month)
    tax = None if net is None else net * terms.tax_percent / 100
    gross = _sum(net, tax)
    return Bill(
        energy=energy_cost,
        levies=levies,
        demand_billed=billed,
        demand_charge=demand_charge,
        demand_excess_kw=None if excess is None else sum(kw for kw, _ in excess),
        demand_surcharge=surcharge,
        power_factor=power_factor,
        power_factor_percent=percent,
        power_factor_adjustment=adjustment,
        fixed_charge=terms.fixed_per_month,
        tax=tax,
        feed_in_credit=energy.feed_in_credit,
        total=None if gross is None else gross - (energy.feed_in_credit or 0.0),
    )


def excess_of(
    bands: Sequence[ExcessBand], maximum_demand_kw: float | None, contract_demand_kw: float | None
) -> list[tuple[float, float]] | None:
    """Return for each band the demand in it [kW] and its multiple of the price; None when it is not known.

    Two suppliers that bill so: China bills what exceeds 105 % of the agreed maximum demand twice (NDRC, Fa Gai Ban Jia
    Ge [2016] No. 1583), Taiwan Power what exceeds the contract capacity by up to 10 % of it twice, the rest three times
    (Rate Schedules, excess of contract capacity).
    """
    if not bands:
        return []
    if maximum_demand_kw is None or contract_demand_kw is None:
        return None
    begins = [band.above_share * contract_demand_kw for band in bands]
    ends = [*begins[1:], math.inf]
    return [
        (max(0.0, min(maximum_demand_kw, end) - begin), band.price_factor)
        for band, begin, end in zip(bands, begins, ends, strict=True)
    ]


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
        demand_excess_kw=None,
        demand_surcharge=_sum(*(each.demand_surcharge for each in bills)),
        power_factor=None,
        power_factor_percent=None,
        power_factor_adjustment=_sum(*(each.power_factor_adjustment for each in bills)),
        fixed_charge=sum(each.fixed_charge for each in bills),
        tax=_sum(*(each.tax for each in bills)),
        feed_in_credit=sum(credit) if credit else None,
        total=_sum(*(each.total for each in bills)),
    )


def _billed(terms: MonthlyTerms, maximum_demand_kw: float | None, contract_demand_kw: float | None) -> float | None:
    """What the demand charge is for; what lies in a band of excess is not part of it."""
    match terms.demand_basis:
        case "maximum_demand":
            return _billed_maximum(terms, maximum_demand_kw, contract_demand_kw)
        case "contract_demand":
            return contract_demand_kw
        case "contract_capacity":
            return terms.contract_capacity_kva
        case None:
            return None


def _billed_maximum(
    terms: MonthlyTerms, maximum_demand_kw: float | None, contract_demand_kw: float | None
) -> float | None:
    if maximum_demand_kw is None or (terms.demand_minimum_share is None and not terms.demand_excess):
        return maximum_demand_kw
    if contract_demand_kw is None:
        return None
    at_least = (terms.demand_minimum_share or 0.0) * contract_demand_kw
    at_most = terms.demand_excess[0].above_share * contract_demand_kw if terms.demand_excess else math.inf
    return min(max(maximum_demand_kw, at_least), at_most)


def _sum(*parts: float | None) -> float | None:
    return None if any(part is None for part in parts) else sum(part for part in parts if part is not None)


def _product(amount: float | None, factor: float | None) -> float | None:
    return None if amount is None or factor is None else amount * factor
