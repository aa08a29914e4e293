from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import numpy as np
import pytest

from emsd.sun import RESTING_BELOW_DEG, elevation_deg, is_night, rests_by_night
from simulator.physics.weather import sun_at

GOLDEN = (39.742476, -105.1786)
MIANYANG = (31.47, 104.68)
MINUTE_US = 60_000_000


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0, *, zone_h: float = 0) -> int:
    zone = timezone(timedelta(hours=zone_h))
    return round(datetime(year, month, day, hour, minute, second, tzinfo=zone).timestamp() * 1e6)


# Reda and Andreas, Solar Position Algorithm for Solar Radiation Applications, NREL/TP-560-34302, 2008, table A5.1 and
# the output of its program: uncorrected topocentric elevation, and the sunrise of the same day.
@pytest.mark.parametrize(
    ("time_us", "elevation"),
    [(at(2003, 10, 17, 12, 30, 30, zone_h=-7), 39.872046), (at(2003, 10, 17, 6, 12, 43, zone_h=-7), -0.8333)],
)
def test_the_sun_stands_where_the_solar_position_algorithm_of_nrel_puts_it(time_us: int, elevation: float) -> None:
    assert elevation_deg(*GOLDEN, time_us) == pytest.approx(elevation, abs=0.01)


@pytest.mark.parametrize("latitude", [-60.0, -31.0, 0.0, 31.47, 52.0, 66.0])
@pytest.mark.parametrize("longitude", [-170.0, -70.0, 0.0, 104.68, 179.0])
def test_another_algorithm_agrees_all_over_the_world_and_the_next_decades(latitude: float, longitude: float) -> None:
    """The simulator's sun is that of pvlib, by the solar position algorithm of NREL."""
    times_s = np.arange(946_684_800.0, 2_500_000_000.0, 86_400 * 137.77)
    theirs = 90.0 - sun_at(times_s, latitude, longitude).zenith
    own = np.array([elevation_deg(latitude, longitude, round(each * 1e6)) for each in times_s])
    assert (own > 15.0).sum() >= 10
    assert np.abs(theirs - own).max() < 0.02


def test_night_and_day_change_at_the_published_sunrise_within_a_minute() -> None:
    sunrise = at(2003, 10, 17, 6, 12, 43, zone_h=-7)
    assert is_night(*GOLDEN, sunrise - MINUTE_US)
    assert not is_night(*GOLDEN, sunrise + MINUTE_US)


def test_there_is_no_night_in_the_arctic_summer_and_no_day_in_its_winter() -> None:
    tromso = (69.65, 18.96)
    hours_us = range(0, 24 * 60 * MINUTE_US, 60 * MINUTE_US)
    assert not any(is_night(*tromso, at(2026, 6, 21) + each) for each in hours_us)
    assert all(is_night(*tromso, at(2026, 12, 21) + each) for each in hours_us)


def test_an_inverter_rests_by_night_and_in_the_first_and_last_light() -> None:
    rests = rests_by_night(*MIANYANG)
    noon, midnight = at(2026, 11, 23, 12, zone_h=8), at(2026, 11, 23, 0, zone_h=8)
    assert rests(midnight)
    assert not rests(noon)
    sunrise = next(at_us for at_us in range(midnight, noon, MINUTE_US) if not is_night(*MIANYANG, at_us))
    woken = next(at_us for at_us in range(midnight, noon, MINUTE_US) if not rests(at_us))
    assert 12 * MINUTE_US < woken - sunrise < 30 * MINUTE_US
    assert elevation_deg(*MIANYANG, woken) == pytest.approx(RESTING_BELOW_DEG, abs=0.3)


def test_the_rest_of_an_inverter_ends_once_a_day() -> None:
    rests = rests_by_night(*MIANYANG)
    start = round(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1e6)
    answers = [rests(start + step * MINUTE_US) for step in range(3 * 24 * 60)]
    assert sum(1 for before, after in pairwise(answers) if before and not after) == 3
