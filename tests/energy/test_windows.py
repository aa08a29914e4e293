"""Windows and their parts, through every kind of local day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsd.energy import WINDOW_NAMES, WindowName, local_day_bounds, settled_minute, split_by_tier, window_bounds

SHANGHAI = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    "Asia/Shanghai",
    "Europe/Berlin",
    "America/Sao_Paulo",  # skipped midnight until 2018
    "America/Havana",  # repeats midnight
    "Asia/Kathmandu",  # +05:45
    "Australia/Lord_Howe",  # changes by half an hour
    "Pacific/Apia",  # skipped 2011-12-30
    "Africa/Monrovia",  # -00:44:30 until 1972
    "UTC",
]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2024, 3, 31), 23),
        ("Europe/Berlin", date(2024, 10, 27), 25),
        ("Asia/Shanghai", date(2024, 3, 31), 24),
        ("Asia/Shanghai", date(1990, 4, 15), 23),
        ("America/Sao_Paulo", date(2018, 11, 4), 23),
        ("America/Havana", date(2024, 11, 3), 25),
        ("Australia/Lord_Howe", date(2024, 4, 7), 24.5),
        ("Pacific/Apia", date(2011, 12, 30), 0),
    ],
)
def test_golden_hours_of_local_days(zone: str, day: date, hours: float) -> None:
    """Computed from the IANA time zone database."""
    begin, end = local_day_bounds(day, ZoneInfo(zone))
    assert end - begin == timedelta(hours=hours)
    assert begin.tzinfo is UTC


@pytest.mark.parametrize("zone", ZONES)
def test_local_days_follow_each_other(zone: str) -> None:
    days = [date(2011, 1, 1) + timedelta(days=i) for i in range(800)]
    bounds = [local_day_bounds(day, ZoneInfo(zone)) for day in days]
    assert all(one[1] == following[0] for one, following in pairwise(bounds))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("15m", "2026-03-15 08:52"),
        ("1h", "2026-03-15 08:07"),
        ("24h", "2026-03-14 09:07"),
        ("7d", "2026-03-08 09:07"),
        ("today", "2026-03-14 16:00"),
        ("month_to_date", "2026-02-28 16:00"),
    ],
)
def test_windows_end_at_the_full_minute_and_begin_by_the_clock_of_the_site(name: WindowName, expected: str) -> None:
    to = utc("2026-03-15 09:07:59.999999")
    assert window_bounds(name, to, SHANGHAI) == (utc(expected), utc("2026-03-15 09:07"))
    assert window_bounds(name, to.astimezone(SHANGHAI), SHANGHAI) == (utc(expected), utc("2026-03-15 09:07"))


def test_rolling_windows_are_elapsed_time_and_today_is_the_local_day() -> None:
    """02:00 to 03:00 does not exist on 2024-03-31 in Berlin."""
    noon = utc("2024-03-31 10:00")
    begin, end = window_bounds("24h", noon, BERLIN)
    assert end - begin == timedelta(hours=24)
    begin, end = window_bounds("today", noon, BERLIN)
    assert end - begin == timedelta(hours=11)


def test_today_is_empty_at_midnight() -> None:
    begin, end = window_bounds("today", utc("2026-03-14 16:00:30"), SHANGHAI)
    assert begin == end == utc("2026-03-14 16:00")


def test_an_unknown_window_and_a_naive_time_are_refused() -> None:
    with pytest.raises(ValueError, match="no window 'year'"):
        window_bounds("year", utc("2026-03-15 09:00"), SHANGHAI)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no time zone"):
        window_bounds("1h", datetime(2026, 3, 15), SHANGHAI)  # noqa: DTZ001
    assert len(WINDOW_NAMES) == 6


def test_a_minute_is_settled_when_its_end_is_past_by_the_time_allowed() -> None:
    assert settled_minute(utc("2026-03-15 09:07:30"), 30) == utc("2026-03-15 09:07")
    assert settled_minute(utc("2026-03-15 09:07:29.999999"), 30) == utc("2026-03-15 09:06")


def tiers(from_: str, to: str, zone: ZoneInfo, *cuts: str) -> list[tuple[str, str, str, date | None]]:
    segments = split_by_tier(utc(from_), utc(to), zone, [utc(cut) for cut in cuts])
    return [(s.tier, f"{s.from_:%d %H:%M}", f"{s.to:%d %H:%M}", s.local_day) for s in segments]


def test_a_window_is_split_into_days_quarters_and_minutes() -> None:
    assert tiers("2026-03-13 15:31", "2026-03-15 16:31", SHANGHAI) == [
        ("1m", "13 15:31", "13 15:45", None),
        ("15m", "13 15:45", "13 16:00", None),
        ("1d", "13 16:00", "14 16:00", date(2026, 3, 14)),
        ("1d", "14 16:00", "15 16:00", date(2026, 3, 15)),
        ("15m", "15 16:00", "15 16:30", None),
        ("1m", "15 16:30", "15 16:31", None),
    ]


def test_less_than_a_quarter_hour_is_minutes() -> None:
    assert tiers("2026-03-15 09:01", "2026-03-15 09:29", SHANGHAI) == [("1m", "15 09:01", "15 09:29", None)]
    assert tiers("2026-03-15 09:00", "2026-03-15 09:00", SHANGHAI) == []


def test_a_cut_splits_days_and_within_a_minute_counts_from_the_next() -> None:
    assert tiers("2026-03-13 16:00", "2026-03-14 16:00", SHANGHAI, "2026-03-14 00:00") == [
        ("15m", "13 16:00", "14 00:00", None),
        ("15m", "14 00:00", "14 16:00", None),
    ]
    assert tiers("2026-03-14 00:00", "2026-03-14 00:30", SHANGHAI, "2026-03-14 00:14:01", "2030-01-01 00:00") == [
        ("15m", "14 00:00", "14 00:15", None),
        ("15m", "14 00:15", "14 00:30", None),
    ]


def test_a_day_of_25_hours_is_one_day() -> None:
    assert tiers("2024-10-26 22:00", "2024-10-27 23:00", BERLIN) == [("1d", "26 22:00", "27 23:00", date(2024, 10, 27))]


def test_a_day_that_a_zone_skipped_is_no_segment() -> None:
    """Samoa had no 2011-12-30."""
    segments = split_by_tier(utc("2011-12-29 10:00"), utc("2011-12-31 10:00"), ZoneInfo("Pacific/Apia"))
    assert [s.local_day for s in segments] == [date(2011, 12, 29), date(2011, 12, 31)]


def test_a_day_whose_bounds_are_no_quarter_hours_is_not_taken_from_days() -> None:
    """Liberia was at -00:44:30 until 1972."""
    segments = split_by_tier(utc("1971-01-01 00:00"), utc("1971-01-03 00:00"), ZoneInfo("Africa/Monrovia"))
    assert [s.tier for s in segments] == ["15m"]


def test_bounds_must_be_full_minutes() -> None:
    with pytest.raises(ValueError, match="not a full minute"):
        split_by_tier(utc("2026-03-15 09:00:01"), utc("2026-03-15 10:00"), SHANGHAI)


@given(
    st.sampled_from(ZONES),
    st.sampled_from(["1971-12-28", "1990-04-12", "2011-12-26", "2018-11-01", "2024-03-29", "2024-10-25"]),
    st.integers(0, 5_000),
    st.integers(0, 10_000),
    st.lists(st.integers(0, 900_000), max_size=4),
)
@settings(max_examples=300, deadline=None)
def test_segments_partition_the_window_and_each_fits_its_tier(
    zone: str, start: str, offset: int, length: int, cut_s: list[int]
) -> None:
    site = ZoneInfo(zone)
    from_ = utc(start) + timedelta(minutes=offset)
    to = from_ + timedelta(minutes=length)
    cuts = [utc(start) + timedelta(seconds=s) for s in cut_s]
    segments = split_by_tier(from_, to, site, cuts)
    at = from_
    for segment in segments:
        assert segment.from_ == at
        assert segment.to > segment.from_
        at = segment.to
        if segment.tier == "1d":
            assert segment.local_day is not None
            assert (segment.from_, segment.to) == local_day_bounds(segment.local_day, site)
        else:
            assert segment.local_day is None
        if segment.tier != "1m":
            assert segment.from_.timestamp() % 900 == segment.to.timestamp() % 900 == 0
        minute = timedelta(minutes=1)
        assert not any(segment.from_ < cut <= segment.to - minute for cut in cuts)
    assert at == to
