"""Scope 1: golden numbers of process gases and fuels, each with its publication, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from emsd.energy.ledger import Activity, GwpSet, check_activity, gwp100, resolve
from emsd.energy.ledger.activities import emitted_kg
from emsd.energy.ledger.fuels import FUELS, convert
from tests.ledger.parts import YEAR_BEGINS, YEAR_ENDS, ledger

MARCH, APRIL = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)


def activity(**facts: Any) -> Activity:
    known: dict[str, Any] = {
        "reference": "A-1", "version": 1, "kind": "process_gas", "substance": "NF3", "amount": "1000", "unit": "kg",
        "period_from": MARCH, "period_to": APRIL, "document": "delivery note 7", "author": "test",
    }  # fmt: skip
    return Activity(**(known | facts))


def tonnes(*, gwp_set: GwpSet = "AR5", **facts: Any) -> dict[str, Decimal]:
    """Emissions by gas [t CO2e]."""
    resolved = resolve(activity(**facts), gwp_set)
    return {term.gas: emitted_kg(resolved, term) * term.gwp / 1000 for term in resolved.terms}


@pytest.mark.parametrize(
    ("gas", "values"),
    [
        ("NF3", ("17200", "16100", "17400")),
        ("SF6", ("22800", "23500", "25200")),
        ("CF4", ("7390", "6630", "7380")),
        ("CHF3", ("14800", "12400", "14600")),
        ("C2F6", ("12200", "11100", "12400")),
        ("c-C4F8", ("10300", "9540", "10200")),
        ("N2O", ("298", "265", "273")),
        ("CH4", ("25", "28", "27.9")),
        ("R134a", ("1430", "1300", "1530")),
    ],
)
def test_global_warming_potentials_are_those_of_the_three_reports(gas: str, values: tuple[str, str, str]) -> None:
    """IPCC AR4 WG I Table 2.14, AR5 WG I Table 8.A.1, AR6 WG I Table 7.SM.7."""
    assert (gwp100(gas, "AR4"), gwp100(gas, "AR5"), gwp100(gas, "AR6")) == tuple(Decimal(each) for each in values)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"process": "chamber_clean_remote"}, {"NF3": "434.7"}),
        ({"process": "chamber_clean_remote", "abated_share": "1"}, {"NF3": "21.735"}),
        ({"process": "chamber_clean_in_situ"}, {"NF3": "4347"}),
        ({"substance": "SF6", "process": "etch"}, {"SF6": "6345"}),
        ({"substance": "SF6", "process": "etch", "abated_share": "1"}, {"SF6": "634.5"}),
        ({"substance": "CHF3", "process": "etch"}, {"CHF3": "2232", "CF4": "417.69"}),
        ({"substance": "c-C4F8", "process": "etch"}, {"c-C4F8": "858.6", "CF4": "53.703", "CHF3": "223.2"}),
    ],
)
def test_golden_process_gases_of_a_tonne(facts: dict[str, Any], expected: dict[str, str]) -> None:
    """IPCC 2019 Refinement vol. 3 ch. 6 Tier 2a, heel 0.10, with 1-U and B of 40 CFR 98 Table I-6, GWP of AR5.

    Abated: destruction of IPCC 2006 vol. 3 Table 6.6, NF3 0.95 and SF6 0.90.
    """
    assert tonnes(**facts) == {gas: Decimal(value) for gas, value in expected.items()}


def test_a_process_gas_takes_the_gwp_of_the_set_that_the_site_chose() -> None:
    assert tonnes(gwp_set="AR6", process="chamber_clean_remote") == {"NF3": Decimal("469.8")}
    assert tonnes(gwp_set="AR4", process="chamber_clean_remote") == {"NF3": Decimal("464.4")}


def test_what_was_measured_stands_in_for_the_defaults() -> None:
    facts: dict[str, Any] = {"process": "etch", "substance": "CHF3", "heel": "0", "utilization": "0.9"}
    assert tonnes(**facts) == {"CHF3": Decimal(1240), "CF4": Decimal("464.1")}
    abated = {**facts, "abated_share": "0.5", "destruction": "0.98"}
    # The by-product goes through the same burner, with its own default of 0.90.
    assert tonnes(**abated) == {"CHF3": Decimal("632.4"), "CF4": Decimal("255.255")}


def test_a_release_is_all_of_it_without_a_heel() -> None:
    assert tonnes(kind="release", substance="R134a", amount="12.5") == {"R134a": Decimal("16.25")}


@pytest.mark.parametrize(
    ("fuel", "unit", "kg"),
    [
        ("natural_gas_cn", "m3", "2.1622"),  # NDRC 2015: 38.931 MJ/m3 x 15.3 t C/TJ x 0.99 x 44/12
        ("diesel_cn", "kg", "3.0959"),  # NDRC 2015: 42.652 GJ/t x 20.2 t C/TJ x 0.98 x 44/12
        ("diesel_us", "L", "2.6972"),  # EPA Emission Factors for Greenhouse Gas Inventories: 10.21 kg/gal
    ],
)
def test_golden_fuels(fuel: str, unit: str, kg: str) -> None:
    found = tonnes(kind="fuel", substance=fuel, unit=unit, amount="1000")
    assert found["CO2"].quantize(Decimal("0.0001")) == Decimal(kg)


def test_a_fuel_may_have_a_factor_of_its_own_with_its_source() -> None:
    facts: dict[str, Any] = {"kind": "fuel", "substance": "biogas", "unit": "m3", "factor_kg_per_unit": "0.2"}
    assert tonnes(**facts, factor_source="supplier's declaration 2026") == {"CO2": Decimal("0.2")}
    (problem,) = check_activity(activity(**facts))
    assert problem[0] == "factor_source"


def test_units_convert_within_their_kind_and_never_between_kinds() -> None:
    assert convert(Decimal(2), "m3", "L") == 2000
    assert convert(Decimal(1), "MWh", "GJ") == Decimal("3.6")
    with pytest.raises(ValueError, match="t measures mass, m3 volume"):
        convert(Decimal(1), "t", "m3")
    assert all(fuel.source and fuel.kg_co2_per_unit > 0 for fuel in FUELS.values())


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"process": "implant"}, "process"),
        ({"substance": "H2O", "process": "etch"}, "substance"),
        ({"kind": "fuel", "substance": "coal"}, "substance"),
        ({"kind": "fuel", "substance": "natural_gas_cn", "unit": "t"}, "unit"),
        ({"process": "etch", "substance": "SF6", "heel": "1.1"}, "heel"),
        ({"kind": "release", "substance": "R134a", "abated_share": "1"}, "abated_share"),
        ({"substance": "N2O", "process": "cvd", "abated_share": "1"}, "destruction"),
        ({"process": "chamber_clean_remote", "period_to": MARCH}, "period_to"),
        ({"process": "chamber_clean_remote", "amount": "-1"}, "amount"),
    ],
)
def test_what_cannot_be_computed_is_refused_by_field(facts: dict[str, Any], field: str) -> None:
    wrong = activity(**facts)
    assert field in [name for name, _ in check_activity(wrong)]
    with pytest.raises(ValueError, match="activity A-1"):
        resolve(wrong, "AR5")


def test_an_activity_counts_in_a_ledger_with_the_share_of_its_time_that_lies_in_it() -> None:
    """434.7 t of a year, 31 days of it; and what was used before or after is in none of its sums."""
    january_ends = YEAR_BEGINS + timedelta(days=31)
    of_year = {"process": "chamber_clean_remote", "period_from": YEAR_BEGINS, "period_to": YEAR_ENDS, "area": "fab"}
    over_the_edge = {
        "kind": "release", "substance": "R134a", "amount": "10", "reference": "R", "area": "utility",
        "period_from": YEAR_BEGINS - timedelta(days=3), "period_to": YEAR_BEGINS + timedelta(days=1),
    }  # fmt: skip
    _, results = ledger([], to=january_ends, activities=[activity(**of_year), activity(**over_the_edge)])
    nf3, r134a = Decimal(434_700) * 31 / 365, Decimal(13_000) / 4
    assert results.total.scope1_kg == pytest.approx(nf3 + r134a, abs=Decimal("1e-6"))
    assert {each.gas: each.kg_co2e for each in results.scope1} == pytest.approx({"NF3": nf3, "R134a": r134a})
    assert {each.area: each.kg_co2e for each in results.scope1_by_area} == pytest.approx({"fab": nf3, "utility": r134a})


def test_fuels_of_the_epa_emit_methane_and_nitrous_oxide_too() -> None:
    """US EPA 2022, Table 1: natural gas 53.06 kg CO2, 1.0 g CH4 and 0.10 g N2O a MMBtu; GWP of AR5 28 and 265."""
    found = tonnes(kind="fuel", substance="natural_gas_us", unit="MMBtu", amount="1000")
    assert found == {"CO2": Decimal("53.06"), "CH4": Decimal("0.028"), "N2O": Decimal("0.0265")}
