"""Carbon: golden numbers of China's factors, validity and versions, and what has no factor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from emsd.energy import CarbonFactor, EnergyPeriod, emissions_kg, factor_at, factor_cuts
from emsd.energy.carbon import CarbonMethod

SOURCE = "Ministry of Ecology and Environment of China, electricity carbon footprint and emission factors"


def year(number: int) -> datetime:
    return datetime(number, 1, 1, tzinfo=UTC)


def factor(
    kg: float,
    begin: datetime,
    end: datetime | None,
    *,
    region: str = "CN",
    method: CarbonMethod = "location",
    version: int = 1,
) -> CarbonFactor:
    return CarbonFactor(region, method, begin, end, kg, SOURCE, version)


NATIONAL = [
    factor(0.5568, year(2021), year(2022)),
    factor(0.5366, year(2022), year(2023)),
    factor(0.5306, year(2023), year(2024)),
]
SICHUAN_2022 = factor(0.1404, year(2022), year(2023), region="CN-SC")


@pytest.mark.parametrize(
    ("energy_gwh", "factors", "tonnes"),
    [
        (5.8, NATIONAL, 3_112.3),
        (32.63, NATIONAL, 17_509),
        (24, NATIONAL, 12_878),
        (5.8, [SICHUAN_2022], 814),
    ],
)
def test_golden_case_study(energy_gwh: float, factors: list[CarbonFactor], tonnes: float) -> None:
    """China 2022: 0.5366 kg/kWh national, 0.1404 in Sichuan: the same energy, a quarter of the emissions."""
    result = emissions_kg([EnergyPeriod(year(2022), year(2023), energy_gwh * 1e6)], factors)
    assert result.kg is not None
    assert result.kg / 1000 == pytest.approx(tonnes, abs=0.5)
    assert result.coverage == 1


def test_each_period_takes_the_factor_valid_then() -> None:
    periods = [EnergyPeriod(year(2021), year(2022), 100), EnergyPeriod(year(2022), year(2023), 10)]
    assert tuple(emissions_kg(periods, NATIONAL)) == pytest.approx((55.68 + 5.366, 1))


def test_a_factor_is_valid_from_its_first_instant_and_until_before_its_last() -> None:
    at_change = factor_at(NATIONAL, year(2022))
    before = factor_at(NATIONAL, year(2022) - timedelta(microseconds=1))
    assert at_change is NATIONAL[1]
    assert before is NATIONAL[0]
    assert factor_at(NATIONAL, year(2024)) is None
    assert factor_at([factor(0.5, year(2024), None)], year(2090)) is not None


def test_the_highest_version_counts_and_older_ones_stay_computable() -> None:
    revised = factor(0.53, year(2022), year(2023), version=2)
    assert factor_at([revised, *NATIONAL], year(2022)) is revised
    assert factor_at([f for f in (revised, *NATIONAL) if f.version == 1], year(2022)) is NATIONAL[1]
    open_ended = factor(0.6, year(2020), None)
    assert factor_at([open_ended, *NATIONAL], year(2022)) is NATIONAL[1]


def test_energy_without_factor_gives_none_and_lowers_the_coverage() -> None:
    late = EnergyPeriod(year(2024), year(2025), 30)
    assert emissions_kg([late], NATIONAL) == (None, 0)
    both = emissions_kg([EnergyPeriod(year(2023), year(2024), 10), late], NATIONAL)
    assert tuple(both) == pytest.approx((5.306, 0.25))


def test_generation_reduces_emissions_and_counts_in_the_coverage() -> None:
    """10 kWh fed in while there is a factor, 30 kWh used while there is none: a quarter of 40 kWh is covered."""
    periods = [EnergyPeriod(year(2022), year(2023), -10), EnergyPeriod(year(2024), year(2025), 30)]
    assert tuple(emissions_kg(periods, NATIONAL)) == pytest.approx((-5.366, 0.25))


def test_unknown_energy_is_no_energy_of_0() -> None:
    assert emissions_kg([EnergyPeriod(year(2022), year(2023), None)], NATIONAL) == (None, None)
    assert emissions_kg([], NATIONAL) == (None, None)
    known = emissions_kg(
        [EnergyPeriod(year(2022), year(2023), 10), EnergyPeriod(year(2024), year(2025), None)], NATIONAL
    )
    assert tuple(known) == pytest.approx((5.366, 1))


def test_no_use_at_all_emits_0_where_there_is_a_factor() -> None:
    assert emissions_kg([EnergyPeriod(year(2022), year(2023), 0)], NATIONAL) == (0, 1)
    assert emissions_kg([EnergyPeriod(year(2024), year(2025), 0)], NATIONAL) == (None, 0)


def test_a_period_over_a_change_must_be_cut() -> None:
    with pytest.raises(ValueError, match="cut the period at factor_cuts"):
        emissions_kg([EnergyPeriod(year(2021), year(2023), 10)], NATIONAL)
    minute = EnergyPeriod(year(2022) - timedelta(seconds=30), year(2022) + timedelta(seconds=30), 10)
    assert tuple(emissions_kg([minute], NATIONAL)) == pytest.approx((5.568, 1))


def test_cuts_are_the_changes_inside_the_window() -> None:
    assert factor_cuts(NATIONAL, year(2021), year(2024)) == [year(2022), year(2023)]
    assert factor_cuts(NATIONAL, year(2022), year(2023)) == []


def test_regions_and_methods_are_never_mixed() -> None:
    with pytest.raises(ValueError, match=r"CN \(location\), CN-SC \(location\) are mixed"):
        factor_at([*NATIONAL, SICHUAN_2022], year(2022))
    with pytest.raises(ValueError, match="mixed"):
        factor_at([*NATIONAL, factor(0.5856, year(2022), year(2023), method="market")], year(2022))


def test_an_impossible_factor_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        factor(0.5, datetime(2022, 1, 1), None)  # noqa: DTZ001
    with pytest.raises(ValueError, match="not after valid_from"):
        factor(0.5, year(2022), year(2022))
    with pytest.raises(ValueError, match="must not be negative"):
        factor(-0.1, year(2022), None)
