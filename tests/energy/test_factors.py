"""Which factor applies when: hours before periods, versions, cuts, and the fast answer like the slow one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsd.energy import datetime_to_us
from emsd.energy.factors import CarbonFactor, FactorTimeline, Resolution, factor_at, factor_cuts

YEAR = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def factor(
    kg: float, begin: datetime, end: datetime | None, *, version: int = 1, resolution: Resolution = "period"
) -> CarbonFactor:
    return CarbonFactor("CN", "location", begin, end, kg, "a test", version, resolution)


def hour(number: int, kg: float, version: int = 1) -> CarbonFactor:
    return factor(kg, YEAR + number * HOUR, YEAR + (number + 1) * HOUR, version=version, resolution="hour")


def test_the_hour_goes_before_the_period_whatever_its_version_and_a_later_import_before_an_earlier() -> None:
    known = [factor(0.5, YEAR, None, version=9), hour(1, 0.9), hour(1, 0.8, 2), hour(3, 0.1)]
    for asked in (known, FactorTimeline(known), FactorTimeline(reversed(known))):
        found = [factor_at(asked, YEAR + number * HOUR) for number in range(5)]
        assert [each and each.kg_per_kwh for each in found] == [0.5, 0.8, 0.5, 0.1, 0.5]
        assert factor_at(asked, YEAR - timedelta(microseconds=1)) is None
    timeline = FactorTimeline(known)
    assert factor_cuts(timeline, YEAR, YEAR + 9 * HOUR) == [YEAR + number * HOUR for number in (1, 2, 3, 4)]
    assert timeline.cuts(YEAR + HOUR, YEAR + 2 * HOUR) == []
    instants = np.array([datetime_to_us(YEAR + number * HOUR) for number in (-1, 0, 1)], dtype=np.int64)
    np.testing.assert_array_equal(timeline.kg_per_kwh_at(instants), [np.nan, 0.5, 0.8])
    assert timeline.is_hourly
    assert not FactorTimeline(known[:1]).is_hourly


def test_without_factors_none_applies() -> None:
    empty = FactorTimeline()
    assert (empty.at(YEAR), empty.cuts(YEAR, YEAR + HOUR), len(empty), empty.is_hourly) == (None, [], 0, False)
    assert np.isnan(empty.kg_per_kwh_at(np.array([0, 1], dtype=np.int64))).all()


def test_a_validity_within_a_minute_counts_from_the_next_and_regions_are_never_mixed() -> None:
    second = timedelta(seconds=1)
    timeline = FactorTimeline([factor(0.5, YEAR + second, None), factor(0.6, YEAR + second, YEAR + 2 * second)])
    assert timeline.at(YEAR + 2 * second) is None
    assert timeline.cuts(YEAR, YEAR + HOUR) == [YEAR + timedelta(minutes=1)]
    with pytest.raises(ValueError, match=r"CN \(location\), DE \(location\) are mixed"):
        FactorTimeline([factor(0.5, YEAR, None), CarbonFactor("DE", "location", YEAR, None, 0.4, "another")])


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 30), st.integers(1, 3), st.sampled_from(["period", "hour"])),
        max_size=12,
    )
)
def test_the_timeline_answers_as_going_through_all_factors_does(drawn: list[tuple[int, int, int, Resolution]]) -> None:
    known = [
        factor(place / 10, YEAR + begin * HOUR, YEAR + (begin + length) * HOUR, version=version, resolution=resolution)
        for place, (begin, length, version, resolution) in enumerate(drawn)
    ]
    timeline = FactorTimeline(known)
    for number in range(75):
        instant = YEAR + number * HOUR
        slow, fast = factor_at(known, instant), timeline.at(instant)
        assert (slow is None) == (fast is None)
        if slow is not None and fast is not None:
            assert slow.precedence == fast.precedence
    cuts = timeline.cuts(YEAR - HOUR, YEAR + 99 * HOUR)
    assert set(cuts) <= set(factor_cuts(known, YEAR - HOUR, YEAR + 99 * HOUR))
    assert all(timeline.at(cut) is not timeline.at(cut - timedelta(microseconds=1)) for cut in cuts)
