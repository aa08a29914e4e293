"""Scope 2 by both methods: the case study's figures, the hierarchy, PV that was sold, hours, and what is missing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from emsd.energy.factors import CarbonFactor
from emsd.energy.ledger import LedgerInputs
from tests.ledger.parts import (
    YEAR_BEGINS,
    factor,
    instrument,
    ledger,
    meter,
    quarters,
    retired,
    sold,
)

YEAR = quarters()
NATIONAL, SICHUAN = factor(0.5366), factor(0.1404, region="CN-SC")
RESIDUAL = factor(0.5856, "residual")


def tonnes(kg: Decimal | None) -> float:
    assert kg is not None
    return float(kg) / 1000


@pytest.mark.parametrize(("gwh", "expected"), [(5.8, 3_112.28), (32.63, 17_509.258)])
def test_golden_grid_energy_of_the_case_study(gwh: float, expected: float) -> None:
    """5.8 GWh -> 3,112 t and 32.63 GWh -> 17,509 t with China's national factor of 2022, 0.5366 kg/kWh."""
    inputs, results = ledger([meter("incomer", "grid", YEAR, gwh * 1e6)], factors=[NATIONAL, RESIDUAL])
    assert tonnes(results.total.location_kg) == pytest.approx(expected, rel=1e-12)
    assert tonnes(results.total.market_kg) == pytest.approx(gwh * 1e3 * 0.5856, rel=1e-12)
    assert [each.region for each in inputs.location.uses] == ["CN"]
    assert "2022" in inputs.location.uses[0].source
    assert results.missing == tuple(f"Scope 1: no activity of {month.name} was entered" for month in results.months)


def test_golden_the_plant_with_31_7_mwp_avoids_beside_and_never_inside() -> None:
    """31.7 MWp yields 5.8 GWh that are used on site: 3,112 t avoided (0.5366), and they are in no scope."""
    meters = [meter("incomer", "grid", YEAR, 26.83e6), meter("pv", "generation", YEAR, export_kwh=5.8e6)]
    _, results = ledger(meters, factors=[NATIONAL, RESIDUAL])
    total = results.total
    assert tonnes(total.avoided_kg) == pytest.approx(3_112.28, rel=1e-9)
    assert tonnes(total.location_kg) == pytest.approx(26_830 * 0.5366, rel=1e-9)
    assert total.load_kwh is not None
    assert float(total.load_kwh) == pytest.approx(32.63e6)
    assert total.self_consumption == 1
    assert total.self_sufficiency is not None
    assert float(total.self_sufficiency) == pytest.approx(5.8 / 32.63, rel=1e-8)
    assert total.renewable_coverage == total.self_sufficiency


def test_golden_with_sichuans_factor_the_same_energy_is_814_t_so_region_and_source_are_stated() -> None:
    inputs, results = ledger([meter("incomer", "grid", YEAR, 5.8e6)], factors=[SICHUAN], region="CN-SC")
    assert tonnes(results.total.location_kg) == pytest.approx(814.32, rel=1e-9)
    assert inputs.location.uses[0].region == "CN-SC"


def test_market_based_goes_by_certificates_then_contracts_then_the_residual_mix() -> None:
    """1,000 MWh: 300 by certificates at 0, 200 by a contract at 0.1, 500 by the residual mix at 0.5856."""
    bought = [instrument("300", retired("300")), instrument("200", retired("200"), number=2, kind="ppa", kg="0.1")]
    _, results = ledger([meter("incomer", "grid", YEAR, 1e6)], factors=[NATIONAL, RESIDUAL], instruments=bought)
    total = results.total
    assert [total.certificate_kwh, total.contract_kwh] == [300_000, 200_000]
    assert total.residual_kwh == pytest.approx(Decimal(500_000), rel=Decimal("1e-9"))
    assert tonnes(total.market_kg) == pytest.approx(20 + 292.8, rel=1e-9)
    assert tonnes(total.location_kg) == pytest.approx(536.6, rel=1e-9)
    assert total.renewable_coverage == Decimal("0.3")
    assert sum(float(month.certificate_kwh) for month in results.months) == pytest.approx(300_000)


def test_the_suppliers_factor_comes_before_the_residual_mix_and_the_grid_stands_in_for_an_unknown_one() -> None:
    _, results = ledger([meter("incomer", "grid", YEAR, 1e6)], factors=[NATIONAL, RESIDUAL, factor(0.2, "market")])
    assert tonnes(results.total.market_kg) == pytest.approx(200, rel=1e-9)
    _, results = ledger([meter("incomer", "grid", YEAR, 1e6)], factors=[NATIONAL])
    assert tonnes(results.total.market_kg) == pytest.approx(536.6, rel=1e-9)
    assert any("residual factor of CN: none for 1,000,000 kWh" in each for each in results.missing)
    _, results = ledger([meter("incomer", "grid", YEAR, 1e6)])
    assert results.total.market_kg is None
    assert results.total.location_kg is None
    assert any("1,000,000 kWh have no factor of any kind" in each for each in results.missing)


def test_certificates_beyond_the_use_cover_nothing_and_are_reported() -> None:
    _, results = ledger([meter("incomer", "grid", YEAR, 1e5)], factors=[RESIDUAL], instruments=[
        instrument("300", retired("300")),
    ])  # fmt: skip
    (used,) = results.instruments
    assert [used.available_kwh, used.surplus_kwh] == [300_000, 200_000]
    assert results.total.market_kg == 0
    assert results.total.renewable_coverage == 1
    assert any("200,000 kWh cover nothing" in each for each in results.missing)


def test_a_retirement_for_a_year_counts_in_a_month_with_the_share_of_its_time() -> None:
    january_ends = datetime(2022, 1, 31, 16, tzinfo=UTC)
    count = quarters(YEAR_BEGINS, january_ends)
    _, results = ledger(
        [meter("incomer", "grid", count, 1e6)], to=january_ends, factors=[RESIDUAL],
        instruments=[instrument("365", retired("365"))],
    )  # fmt: skip
    assert results.total.certificate_kwh == 31_000


def test_pv_whose_certificates_were_sold_carries_the_residual_mix_and_avoids_nothing() -> None:
    meters = [meter("incomer", "grid", YEAR, 1e6, 1e5), meter("pv", "generation", YEAR, export_kwh=5e5)]
    _, results = ledger(meters, factors=[NATIONAL, RESIDUAL], instruments=[instrument("150", sold("150"), own_pv=True)])
    total = results.total
    assert total.pv_used_kwh is not None
    assert float(total.pv_used_kwh) == pytest.approx(4e5)
    assert float(total.sold_pv_kwh) == pytest.approx(1.5e5)
    assert tonnes(total.market_kg) == pytest.approx((1e3 + 150) * 0.5856, rel=1e-9)
    assert tonnes(total.location_kg) == pytest.approx(536.6, rel=1e-9)
    assert tonnes(total.avoided_kg) == pytest.approx(250 * 0.5366, rel=1e-9)
    assert total.renewable_coverage is not None
    assert float(total.renewable_coverage) == pytest.approx(250 / 1400, rel=1e-8)
    _, more = ledger(meters, factors=[NATIONAL, RESIDUAL], instruments=[instrument("900", sold("900"), own_pv=True)])
    assert float(more.total.sold_pv_kwh) == pytest.approx(4e5), "at most the PV that was used"


def test_own_certificates_that_were_kept_and_retired_change_nothing() -> None:
    """The PV is zero already; its certificate must not make grid energy zero as well."""
    meters = [meter("incomer", "grid", YEAR, 1e6), meter("pv", "generation", YEAR, export_kwh=5e5)]
    without = ledger(meters, factors=[NATIONAL, RESIDUAL])[1]
    kept = ledger(meters, factors=[NATIONAL, RESIDUAL], instruments=[
        instrument("400", retired("400"), own_pv=True),
    ])[1]  # fmt: skip
    assert kept.total == without.total


# ----------------------------------------------------------------------------------------------- time


DAY_BEGINS, DAY_ENDS = datetime(2022, 6, 30, 16, tzinfo=UTC), datetime(2022, 7, 1, 16, tzinfo=UTC)
HOUR = timedelta(hours=1)


def hour(number: int, kg: float, version: int = 1, *, width: timedelta = HOUR) -> CarbonFactor:
    begin = DAY_BEGINS + number * HOUR
    source = f"grid operator, version {version}"
    return factor(kg, source=source, valid_from=begin, valid_to=begin + width, version=version, resolution="hour")


def test_an_hour_takes_its_own_factor_and_the_rest_that_of_the_year() -> None:
    hours = [hour(0, 0.9), hour(1, 0.1), hour(1, 0.2, version=2)]
    inputs, results = ledger(
        [meter("incomer", "grid", 96, 960.0)], from_=DAY_BEGINS, to=DAY_ENDS, factors=[NATIONAL, *hours]
    )
    # 40 kWh an hour: one at 0.9, one at the revised 0.2, 22 at the factor of the year.
    assert results.total.location_kg == pytest.approx(Decimal("516.208"))
    assert len(inputs.edges) == 4
    assert [use.resolution for use in inputs.location.uses] == ["period", "hour", "hour"]
    assert inputs.location.kg_per_kwh == (Decimal("0.9"), Decimal("0.2"), Decimal("0.5366"))


def test_a_factor_that_changes_within_a_month_cuts_it() -> None:
    cut = DAY_BEGINS + timedelta(hours=6)
    changed = [factor(0.5366, valid_to=cut), factor(0.6, valid_from=cut, source="a later publication")]
    inputs, results = ledger([meter("incomer", "grid", 96, 96.0)], from_=DAY_BEGINS, to=DAY_ENDS, factors=changed)
    assert len(inputs.edges) == 3
    assert results.total.location_kg == pytest.approx(Decimal(24) * Decimal("0.5366") + Decimal(72) * Decimal("0.6"))
    assert [month.name for month in results.months] == ["2022-07"]


def test_hourly_matching_covers_only_use_in_the_hour_of_production() -> None:
    use = np.zeros(96)
    use[:4] = 25.0  # 100 kWh in the first hour
    use[4:8] = 2.5  # 10 kWh in the second
    granular = [
        instrument("0.06", retired("0.06"), kind="granular", number=1, produced_from=DAY_BEGINS,
                   produced_to=DAY_BEGINS + HOUR),
        instrument("0.06", retired("0.06"), kind="granular", number=2, produced_from=DAY_BEGINS + HOUR,
                   produced_to=DAY_BEGINS + 2 * HOUR),
        instrument("1", retired("1"), number=3),
    ]  # fmt: skip
    granular = [
        each.model_copy(update={"allocations": (retired(str(each.energy_kwh / 1000), DAY_BEGINS, DAY_ENDS),)})
        for each in granular
    ]
    _, hourly = ledger(
        [meter("incomer", "grid", 96, use)], from_=DAY_BEGINS, to=DAY_ENDS, factors=[RESIDUAL], matching="hourly",
        instruments=granular,
    )  # fmt: skip
    assert hourly.total.certificate_kwh == 70
    assert [each.surplus_kwh for each in hourly.instruments if each.instrument_id == 2] == [50]
    (coarse,) = [each for each in hourly.instruments if each.instrument_id == 3]
    assert [coarse.matched_kwh, "more than an hour" in coarse.reason] == [0, True]
    _, yearly = ledger(
        [meter("incomer", "grid", 96, use)], from_=DAY_BEGINS, to=DAY_ENDS, factors=[RESIDUAL], instruments=granular
    )
    assert yearly.total.certificate_kwh == 110


def test_what_was_not_measured_lowers_the_coverage_and_is_never_0() -> None:
    half = np.full(96, 10.0)
    half[48:] = np.nan
    covered = np.where(np.isnan(half), 0.0, 1.0)
    _, results = ledger(
        [meter("incomer", "grid", 96, half, coverage=covered)], from_=DAY_BEGINS, to=DAY_ENDS, factors=[NATIONAL]
    )
    assert results.total.grid_import_kwh == 480
    assert results.total.coverage == Decimal("0.5")
    assert "electricity: 2022-07 is measured 50.0 % of the time" in results.missing
    nothing = np.full(96, np.nan)
    _, results = ledger(
        [meter("incomer", "grid", 96, nothing, nothing, np.zeros(96))],
        from_=DAY_BEGINS,
        to=DAY_ENDS,
        factors=[NATIONAL],
    )
    assert results.total.grid_import_kwh is None
    assert results.total.location_kg is None
    assert results.total.market_kg is None
    _, results = ledger([], from_=DAY_BEGINS, to=DAY_ENDS, factors=[NATIONAL])
    assert "electricity: the site has no energy meter, so Scope 2 is unknown" in results.missing


def test_a_granular_certificate_that_was_retired_for_the_year_covers_its_hour_in_the_ledger_of_its_month_too() -> None:
    """Its energy was produced within the month, so all of it counts there, and nothing in any other month."""
    use = meter("incomer", "grid", 96, 960.0)
    of_hour = instrument(
        "0.03", retired("0.03"), kind="granular", produced_from=DAY_BEGINS + HOUR, produced_to=DAY_BEGINS + 2 * HOUR
    )
    facts: dict[str, Any] = {"from_": DAY_BEGINS, "to": DAY_ENDS, "factors": [RESIDUAL], "instruments": [of_hour]}
    _, results = ledger([use], matching="hourly", **facts)
    assert [results.total.certificate_kwh, results.instruments[0].surplus_kwh] == [30, 0]
    _, results = ledger([use], matching="yearly", **facts)
    assert results.total.certificate_kwh == pytest.approx(Decimal(30) / 365, abs=Decimal("1e-6"))
    elsewhere = instrument("0.03", retired("0.03", DAY_BEGINS, DAY_BEGINS + HOUR), kind="granular",
                           produced_from=DAY_BEGINS + HOUR, produced_to=DAY_BEGINS + 2 * HOUR)  # fmt: skip
    _, results = ledger([use], matching="hourly", **(facts | {"instruments": [elsewhere]}))
    assert results.total.certificate_kwh == 0
    assert any("outside the period that it was retired for" in each for each in results.missing)


def test_what_left_the_site_is_never_taken_as_zero_where_it_is_metered() -> None:
    """In July nothing is known of the grid, so what was used of the PV then is not known either."""
    june_ends = datetime(2022, 6, 30, 16, tzinfo=UTC)
    july_ends = datetime(2022, 7, 31, 16, tzinfo=UTC)
    known = quarters(YEAR_BEGINS, june_ends)
    count = quarters(YEAR_BEGINS, july_ends)
    gone = np.where(np.arange(count) < known, 1.0, np.nan)
    covered = np.where(np.isnan(gone), 0.0, 1.0)
    pv = meter("pv", "generation", count, np.full(count, np.nan), np.full(count, 2.0))
    facts: dict[str, Any] = {"to": july_ends, "factors": [NATIONAL, RESIDUAL]}
    _, results = ledger([meter("incomer", "grid", count, gone, gone, coverage=covered), pv], **facts)
    june, july = results.months[5:]
    assert [june.generation_kwh, june.pv_used_kwh] == [2880 * 2, 2880]
    assert [july.generation_kwh, july.pv_used_kwh, july.avoided_kg, july.load_kwh] == [2976 * 2, None, None, None]
    assert "electricity: 2022-07 is known for 0.0 % of the time; the rest is in no figure" in results.missing
    never = np.full(count, np.nan)
    _, results = ledger([meter("incomer", "grid", count, 1000.0, never), pv], **facts)
    assert results.total.pv_used_kwh == results.total.generation_kwh
    assert "own PV: no meter counts what leaves the site, so all of its yield is taken as used on site" in (
        results.missing
    )


def test_a_meter_is_due_only_while_it_counted() -> None:
    first = np.arange(96) < 48
    meters = [
        meter("old", "grid", 96, 960.0, counted=first), meter("new", "grid", 96, 1920.0, counted=~first),
    ]  # fmt: skip
    inputs, results = ledger(meters, from_=DAY_BEGINS, to=DAY_ENDS, factors=[NATIONAL])
    assert [results.total.grid_import_kwh, results.total.coverage, results.total.completeness] == [1440, 1, 1]
    assert [each.import_kwh[0] for each in inputs.meters] == [480, 960]
    assert [each.due_s[0] for each in inputs.meters] == [43_200, 43_200]


def test_estimated_energy_is_told_apart_in_every_line_by_both_methods() -> None:
    bought = [instrument("300", retired("300"))]
    grid = meter("incomer", "grid", YEAR, 1e6, estimated_import_kwh=1e5)
    _, results = ledger([grid], factors=[NATIONAL, RESIDUAL], instruments=bought)
    total = results.total
    assert float(total.estimated_import_kwh) == pytest.approx(1e5)
    assert float(total.estimated_location_kg) == pytest.approx(53_660, rel=1e-6)
    assert float(total.estimated_market_kg) == pytest.approx(0.1 * 700e3 * 0.5856, rel=1e-6)
    assert float(total.estimated_share or 0) == pytest.approx(0.1)
    assert "2022-01 holds 8,493 kWh from the grid that were estimated, 10.0 % of it" in " ".join(results.missing)


def test_slots_that_are_not_the_sums_of_their_meters_are_refused() -> None:
    inputs, _ = ledger([meter("incomer", "grid", 96, 960.0)], from_=DAY_BEGINS, to=DAY_ENDS, factors=[NATIONAL])
    data = inputs.model_dump(mode="json")
    for name in ("import_kwh", "covered_s"):
        wrong = json.loads(json.dumps(data))
        wrong["grid"][name][0] = "961"
        with pytest.raises(ValueError, match=f"{name} of the grid meters is not the sum of its meters"):
            LedgerInputs.model_validate(wrong)
    wrong = json.loads(json.dumps(data))
    wrong["meters"][0]["import_kwh"] = []
    with pytest.raises(ValueError, match="meters with"):
        LedgerInputs.model_validate(wrong)


def test_a_thousand_meters_by_the_hour_are_as_many_numbers_as_hours_and_months() -> None:
    count = quarters(YEAR_BEGINS, YEAR_BEGINS + timedelta(days=31))
    hours = [
        factor(0.5 + number / 1e4, valid_from=YEAR_BEGINS + number * HOUR, valid_to=YEAR_BEGINS + (number + 1) * HOUR,
               resolution="hour")
        for number in range(744)
    ]  # fmt: skip
    facts: dict[str, Any] = {"to": YEAR_BEGINS + timedelta(days=31), "factors": hours}
    shared = meter("incomer", "grid", count, 744.0)
    inputs, results = ledger([shared] * 1000, **facts)
    assert len(inputs.grid.import_kwh) == 744
    assert {len(each.import_kwh) for each in inputs.meters} == {1}
    one = ledger([shared], **facts)[1].total.location_kg
    assert one is not None
    assert results.total.location_kg == 1000 * one, "whole millionths add up exactly"
