"""Energy times the price of its time, power factor, and the bill; every number was worked out by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from emsd.energy.bill import DemandBasis, ExcessBand, MonthlyTerms, bill, summed_bill
from emsd.energy.cost import EnergyCost, PriceCurve, PricedEnergy, cut_buckets, energy_costs
from emsd.energy.power_factor import STANDARD_ADJUSTMENTS, adjustment_percent, adjustments_from_steps, power_factor
from emsd.energy.series import BUCKET_15M_US, FloatArray, TimeArray

QUARTER = BUCKET_15M_US


def times(*quarters: float) -> TimeArray:
    return (np.array(quarters) * QUARTER).astype(np.int64)


CURVE = PriceCurve(  # flat for two quarters, peak for two, nothing for one, then a price that is not known
    from_us=times(0, 2, 5),
    to_us=times(2, 4, 6),
    period=np.array([0, 1, 0], dtype=np.int64),
    price_per_kwh=np.array([0.5, 1.0, math.nan]),
    levy_per_kwh=np.array([0.03, 0.03, 0.03]),
    feed_in_per_kwh=np.array([0.4, 0.4, math.nan]),
    names=("flat", "peak"),
)


def quarters(drawn: list[float], given: list[float] | None = None, coverage: float = 1.0) -> PricedEnergy:
    count = len(drawn)
    return PricedEnergy(
        begin_us=times(*range(count)),
        width_us=np.full(count, QUARTER),
        drawn_kwh=np.array(drawn),
        given_kwh=np.full(count, math.nan) if given is None else np.array(given),
        estimated_kwh=np.zeros(count),
        coverage=np.full(count, coverage),
    )


def test_each_quarter_goes_by_the_price_of_its_time() -> None:
    (found,) = energy_costs(quarters([10, 20, 30, 40]), CURVE, times(0, 4))
    assert [(each.period, each.energy_kwh, each.cost) for each in found.periods] == [("flat", 30, 15), ("peak", 70, 70)]
    assert (found.drawn_kwh, found.cost, found.priced_share, found.coverage) == (100, 85, 1, 1)
    assert found.levies == pytest.approx(3)
    assert found.given_kwh is None
    assert found.feed_in_credit is None
    assert found.periods[1].price_per_kwh == 1


def test_windows_share_the_quarters_and_energy_without_price_has_no_cost() -> None:
    first, second, third = energy_costs(quarters([10, 20, 30, 40, 50, 60]), CURVE, times(0, 2, 4, 6))
    assert (first.cost, second.cost) == (15, 70)
    assert third.cost is None
    assert third.levies is None
    assert third.periods == ()
    assert third.drawn_kwh == 110
    assert third.priced_share == 0
    (whole,) = energy_costs(quarters([10, 20, 30, 40, 50, 60]), CURVE, times(0, 6))
    assert whole.cost == 85
    assert whole.priced_share == pytest.approx(100 / 210)


def test_unknown_energy_is_left_out_and_nothing_known_is_none() -> None:
    energy = replace(quarters([10, math.nan, 30, 40], [0, 5, math.nan, 1]), coverage=np.array([1.0, 0.0, 0.5, 1.0]))
    (found,) = energy_costs(energy, CURVE, times(0, 4))
    assert (found.drawn_kwh, found.cost, found.given_kwh) == (80, 75, 6)
    assert found.feed_in_credit == pytest.approx(2.4)
    assert found.coverage == pytest.approx(2.5 / 4)
    (nothing,) = energy_costs(quarters([math.nan] * 4), CURVE, times(0, 4))
    assert (nothing.drawn_kwh, nothing.cost, nothing.priced_share, nothing.estimated_share) == (None,) * 4
    none: FloatArray = np.array([])
    empty = PriceCurve(times(), times(), times(), none, none, none, ())
    (unpriced,) = energy_costs(quarters([10.0]), empty, times(0, 1))
    assert (unpriced.drawn_kwh, unpriced.cost, unpriced.priced_share) == (10, None, 0)


def test_the_estimated_share_is_of_all_energy() -> None:
    energy = replace(quarters([10, 20], [5, 5]), estimated_kwh=np.array([10.0, 0.0]))
    (found,) = energy_costs(energy, CURVE, times(0, 2))
    assert found.estimated_share == pytest.approx(10 / 40)


def test_a_quarter_in_which_the_price_changes_is_cut_and_one_that_begins_there_is_not() -> None:
    assert cut_buckets(CURVE, times(0, 1, 2, 3, 4, 5, 6, 7)).tolist() == [False] * 7
    shifted = replace(CURVE, from_us=times(0, 2.5, 5), to_us=times(2.5, 4, 6))
    assert cut_buckets(shifted, times(0, 1, 2, 3, 4, 5)).tolist() == [False, False, True, False, False]


# ------------------------------------------------------------------------------------------------- power factor


def test_golden_power_factor_of_a_period() -> None:
    """KWh / sqrt(kWh^2 + kvarh^2), IEC 60050-131: 1000 kWh and 500 kvarh."""
    assert power_factor(1000, 500) == pytest.approx(0.8944, abs=5e-5)
    assert power_factor(0, 0) is None
    assert power_factor(0, 10) == 0


@pytest.mark.parametrize(
    ("standard", "factor", "percent"),
    [
        # (83) Shui Dian Cai Zi No. 215, tables 1 to 3, as a supplier's look-up table prints them.
        *((0.90, 0.85, 2.5), (0.90, 0.70, 10.0), (0.90, 0.65, 15.0), (0.90, 0.60, 25.0)),
        *((0.90, 0.90, 0.0), (0.90, 0.93, -0.45), (0.90, 0.95, -0.75), (0.90, 1.00, -0.75), (0.90, 0.32, 81.0)),
        *((0.85, 0.94, -1.1), (0.85, 0.93, -0.95), (0.85, 0.66, 9.5), (0.85, 0.60, 15.0), (0.85, 0.32, 71.0)),
        *((0.80, 0.92, -1.3), (0.80, 0.66, 7.0), (0.80, 0.59, 11.0), (0.80, 0.26, 73.0)),
    ],
)
def test_golden_adjustments_of_the_chinese_tables(standard: float, factor: float, percent: float) -> None:
    assert adjustment_percent(factor, STANDARD_ADJUSTMENTS[standard]) == pytest.approx(percent)


def test_every_step_of_a_table_is_worse_than_the_one_above_it() -> None:
    for table in STANDARD_ADJUSTMENTS.values():
        assert len(table) == 101
        assert all(lower >= higher for lower, higher in itertools.pairwise(table))


def test_a_power_factor_between_two_steps_is_rounded_half_up() -> None:
    table = STANDARD_ADJUSTMENTS[0.90]
    assert adjustment_percent(0.8949, table) == 0.5
    assert adjustment_percent(0.895, table) == 0.0
    assert adjustment_percent(0.885, table) == 0.5
    assert adjustment_percent(0.9, table) == 0.0


def test_a_half_is_a_half_though_a_hundred_times_it_is_less_in_binary() -> None:
    assert 0.575 * 100 < 57.5
    table = STANDARD_ADJUSTMENTS[0.90]
    assert adjustment_percent(0.575, table) == adjustment_percent(0.58, table) < adjustment_percent(0.57, table)


def test_a_step_of_ones_own_is_reached_only_when_the_power_factor_is() -> None:
    """A contract that charges 5 % below 0.90 charges them at 0.8951, which would be rounded to 0.90."""
    table = adjustments_from_steps({0.0: 5.0, 0.9: 0.0})
    assert adjustment_percent(0.8951, table, rounded=False) == 5.0
    assert adjustment_percent(0.9, table, rounded=False) == 0.0
    assert adjustment_percent(0.58, adjustments_from_steps({0.0: 5.0, 0.58: 0.0}), rounded=False) == 0.0
    terms = MonthlyTerms(power_factor_percent=table, power_factor_rounds=False)
    found = bill(ENERGY, terms, maximum_demand_kw=None, contract_demand_kw=None, power_factor=0.8951)
    assert found.power_factor_adjustment == pytest.approx(30)


def test_steps_of_ones_own_hold_up_to_the_next() -> None:
    table = adjustments_from_steps({0.95: -2.0, 0.0: 20.0, 0.8: 5.0})
    found = [adjustment_percent(each, table) for each in (0.3, 0.79, 0.8, 0.94, 0.95, 1.0)]
    assert found == [20.0, 20.0, 5.0, 5.0, -2.0, -2.0]


# --------------------------------------------------------------------------------------------------------- bill

ENERGY = EnergyCost((), 1000.0, 50.0, 600.0, 30.0, 20.0, 1.0, 1.0, 0.0)
TERMS = MonthlyTerms(
    demand_basis="maximum_demand",
    demand_price_per_month=40.0,
    power_factor_percent=STANDARD_ADJUSTMENTS[0.90],
    fixed_per_month=100.0,
    tax_percent=10.0,
)


def test_a_bill_adds_up() -> None:
    """600 + 30 + 40 x 5 = 200; 2.5 % of 800 = 20; 100 fixed: 950, 10 % tax, 20 for what was fed in."""
    found = bill(ENERGY, TERMS, maximum_demand_kw=5.0, contract_demand_kw=7.0, power_factor=0.85)
    assert (found.demand_billed, found.demand_charge) == (5, 200)
    assert found.power_factor_percent == 2.5
    assert found.power_factor_adjustment == pytest.approx(20)
    assert found.tax == pytest.approx(95)
    assert found.total == pytest.approx(600 + 30 + 200 + 20 + 100 + 95 - 20)


def test_the_demand_charge_goes_by_its_basis() -> None:
    contract = bill(
        ENERGY,
        replace(TERMS, demand_basis="contract_demand"),
        maximum_demand_kw=5.0,
        contract_demand_kw=7.0,
        power_factor=0.9,
    )
    assert contract.demand_charge == 280
    capacity = bill(
        ENERGY,
        replace(TERMS, demand_basis="contract_capacity", contract_capacity_kva=9.0),
        maximum_demand_kw=None,
        contract_demand_kw=None,
        power_factor=0.9,
    )
    assert (capacity.demand_billed, capacity.demand_charge) == (9, 360)
    plain = bill(ENERGY, MonthlyTerms(), maximum_demand_kw=None, contract_demand_kw=None, power_factor=None)
    assert (plain.demand_charge, plain.power_factor_adjustment, plain.total) == (0, 0, 610)


def test_a_part_that_is_unknown_leaves_no_total() -> None:
    no_demand = bill(ENERGY, TERMS, maximum_demand_kw=None, contract_demand_kw=None, power_factor=0.85)
    assert (no_demand.demand_charge, no_demand.power_factor_adjustment, no_demand.total) == (None, None, None)
    no_factor = bill(ENERGY, TERMS, maximum_demand_kw=5.0, contract_demand_kw=None, power_factor=None)
    assert (no_factor.demand_charge, no_factor.power_factor_percent, no_factor.total) == (200, None, None)
    no_energy = bill(
        replace(ENERGY, cost=None), TERMS, maximum_demand_kw=5.0, contract_demand_kw=None, power_factor=0.85
    )
    assert (no_energy.tax, no_energy.total) == (None, None)


def test_a_bill_of_energy_of_which_some_has_no_price_has_no_total() -> None:
    """600 for half of the energy is not what the energy cost."""
    found = bill(
        replace(ENERGY, priced_share=0.5), TERMS, maximum_demand_kw=5.0, contract_demand_kw=None, power_factor=0.85
    )
    assert (found.energy, found.levies, found.power_factor_adjustment, found.tax, found.total) == (None,) * 5
    assert found.demand_charge == 200
    rounded = bill(
        replace(ENERGY, priced_share=1 - 1e-15), TERMS, maximum_demand_kw=5.0, contract_demand_kw=None, power_factor=1
    )
    assert rounded.total is not None


TAIPOWER = (ExcessBand(1.0, 2.0), ExcessBand(1.1, 3.0))
CHINA = (ExcessBand(1.05, 2.0),)


@pytest.mark.parametrize(
    ("basis", "excess", "demand_kw", "contract_kw", "price", "billed", "charge", "excess_kw", "surcharge"),
    [
        # Taiwan Power, rate schedules: up to 10 % above the contract capacity twice, the rest three times. 1,150 kW
        # with 1,000 agreed at 223.60: 223,600 + 100 x 447.20 + 50 x 670.80.
        ("contract_demand", TAIPOWER, 1150.0, 1000.0, 223.6, 1000.0, 223_600.0, 150.0, 44_720.0 + 33_540.0),
        ("contract_demand", TAIPOWER, 1100.0, 1000.0, 223.6, 1000.0, 223_600.0, 100.0, 44_720.0),
        ("contract_demand", TAIPOWER, 999.0, 1000.0, 223.6, 1000.0, 223_600.0, 0.0, 0.0),
        # China, NDRC 2016 No. 1583: what exceeds 105 % of the agreed maximum demand is charged twice. 4,400 kW with
        # 4,000 agreed at 40: 160,000 + 200 x 80; within 105 % as agreed.
        ("contract_demand", CHINA, 4400.0, 4000.0, 40.0, 4000.0, 160_000.0, 200.0, 16_000.0),
        ("contract_demand", CHINA, 4150.0, 4000.0, 40.0, 4000.0, 160_000.0, 0.0, 0.0),
        # Measured demand at 10, what exceeds the agreed 500 kW at 1.5 times that: 500 x 10 + 60 x 15.
        ("maximum_demand", (ExcessBand(1.0, 1.5),), 560.0, 500.0, 10.0, 500.0, 5000.0, 60.0, 900.0),
        ("maximum_demand", (ExcessBand(1.0, 1.5),), 450.0, 500.0, 10.0, 450.0, 4500.0, 0.0, 0.0),
    ],
)
def test_golden_demand_above_the_agreed_one_costs_a_multiple(
    basis: DemandBasis,
    excess: tuple[ExcessBand, ...],
    demand_kw: float,
    contract_kw: float,
    price: float,
    billed: float,
    charge: float,
    excess_kw: float,
    surcharge: float,
) -> None:
    terms = MonthlyTerms(demand_basis=basis, demand_price_per_month=price, demand_excess=excess, tax_percent=10)
    found = bill(ENERGY, terms, maximum_demand_kw=demand_kw, contract_demand_kw=contract_kw, power_factor=None)
    assert found.demand_billed == pytest.approx(billed)
    assert found.demand_charge == pytest.approx(charge)
    assert found.demand_excess_kw == pytest.approx(excess_kw)
    assert found.demand_surcharge == pytest.approx(surcharge)
    # 600 of energy and 30 of levies, the tax on all of it, 20 for what was fed in.
    assert found.total == pytest.approx((630 + charge + surcharge) * 1.1 - 20)
    unknown = bill(ENERGY, terms, maximum_demand_kw=None, contract_demand_kw=contract_kw, power_factor=None)
    assert (unknown.demand_excess_kw, unknown.demand_surcharge, unknown.total) == (None, None, None)
    no_contract = bill(ENERGY, terms, maximum_demand_kw=demand_kw, contract_demand_kw=None, power_factor=None)
    assert (no_contract.demand_surcharge, no_contract.total) == (None, None)


@pytest.mark.parametrize(("demand_kw", "billed"), [(300.0, 400.0), (400.0, 400.0), (450.0, 450.0), (600.0, 600.0)])
def test_a_share_of_the_agreed_demand_is_billed_at_least(demand_kw: float, billed: float) -> None:
    """80 % of 500 kW, whatever was drawn; at 10 a kW."""
    terms = MonthlyTerms(demand_basis="maximum_demand", demand_price_per_month=10.0, demand_minimum_share=0.8)
    found = bill(ENERGY, terms, maximum_demand_kw=demand_kw, contract_demand_kw=500.0, power_factor=None)
    assert (found.demand_billed, found.demand_charge) == (billed, billed * 10)
    unknown = bill(ENERGY, terms, maximum_demand_kw=demand_kw, contract_demand_kw=None, power_factor=None)
    assert (unknown.demand_billed, unknown.total) == (None, None)


def test_the_power_factor_changes_the_surcharge_too() -> None:
    terms = replace(TERMS, demand_excess=(ExcessBand(1.0, 2.0),))
    found = bill(ENERGY, terms, maximum_demand_kw=6.0, contract_demand_kw=5.0, power_factor=0.85)
    # 2.5 % of 600 + 5 x 40 + 1 x 80.
    assert found.power_factor_adjustment == pytest.approx(22)
    both = summed_bill([found, found])
    assert both is not None
    assert both.demand_surcharge == pytest.approx(160)


def test_bills_of_several_months_are_added_up() -> None:
    one = bill(ENERGY, TERMS, maximum_demand_kw=5.0, contract_demand_kw=7.0, power_factor=0.85)
    both = summed_bill([one, one])
    assert both is not None
    assert one.total is not None
    assert both.total == pytest.approx(2 * one.total)
    assert (both.power_factor, both.feed_in_credit) == (None, 40)
    unknown = bill(ENERGY, TERMS, maximum_demand_kw=None, contract_demand_kw=None, power_factor=0.85)
    mixed = summed_bill([one, unknown])
    assert mixed is not None
    assert (mixed.energy, mixed.demand_charge, mixed.total) == (1200, None, None)
    assert summed_bill([]) is None
