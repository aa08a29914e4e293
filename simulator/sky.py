"""Sun and weather of a site: solar position, irradiance under moving clouds, temperature and humidity.

The climate is that of Mianyang, Sichuan (31.47 N, 104.68 E, 500 m), whatever the site: the simulator wants plausible
heat, not a forecast. Only the sun follows the site's own latitude and longitude.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulator.noise import FloatArray, smooth, stream

__all__ = ["DEFAULT_LATITUDE", "DEFAULT_LONGITUDE", "SUNNY_HOUR", "Sky", "SunPosition", "Weather", "sun_position"]

DEFAULT_LATITUDE = 31.47
DEFAULT_LONGITUDE = 104.68

# Monthly means of Mianyang [C], January first.
_MONTHLY_MEAN_C = (6.2, 8.4, 12.3, 17.5, 22.0, 24.6, 27.2, 27.0, 23.0, 17.6, 12.7, 7.5)
_DAYS_A_YEAR = 365.2425
_DAYS_A_MONTH = _DAYS_A_YEAR / 12
_S_PER_DAY = 86_400.0
_J2000_S = 946_728_000.0  # 2000-01-01 12:00 UTC, the epoch of the almanac's formulas
_YEAR_START_S = 946_684_800.0  # 2000-01-01 00:00 UTC
_RAIN_MM_H, _RAIN_FROM = 9.0, 0.7  # rain per unit of bank beyond a bank of this thickness
SUNNY_HOUR = 15.0
"""Local solar time at which a day is warmest [h]."""


class SunPosition(NamedTuple):
    """Where the sun stands [degree]: apparent (refracted) zenith, and azimuth clockwise from north."""

    zenith: FloatArray
    azimuth: FloatArray


def sun_position(time_s: FloatArray, latitude: float, longitude: float) -> SunPosition:
    """Return the position of the sun, good to 0.01 degree from 1950 to 2050.

    time_s                seconds since 1970-01-01 UTC, float64[n]
    latitude, longitude   [degree], north and east positive

    Source: J. J. Michalsky, "The Astronomical Almanac's algorithm for approximate solar position (1950-2050)", Solar
    Energy 40 (1988) 227-235.
    """
    day = (time_s - _J2000_S) / _S_PER_DAY
    mean_longitude = 280.460 + 0.9856474 * day
    mean_anomaly = np.radians(357.528 + 0.9856003 * day)
    ecliptic = np.radians(mean_longitude + 1.915 * np.sin(mean_anomaly) + 0.020 * np.sin(2 * mean_anomaly))
    obliquity = np.radians(23.439 - 0.0000004 * day)
    right_ascension = np.arctan2(np.cos(obliquity) * np.sin(ecliptic), np.cos(ecliptic))
    declination = np.arcsin(np.sin(obliquity) * np.sin(ecliptic))
    hour_utc = np.mod(time_s, _S_PER_DAY) / 3600.0
    sidereal_degree = 15.0 * (6.697375 + 0.0657098242 * day + hour_utc) + longitude
    hour_angle = np.radians(sidereal_degree) - right_ascension
    phi = np.radians(latitude)
    sine = np.sin(declination) * np.sin(phi) + np.cos(declination) * np.cos(phi) * np.cos(hour_angle)
    elevation = np.degrees(np.arcsin(np.clip(sine, -1.0, 1.0)))
    azimuth = np.degrees(
        np.arctan2(-np.sin(hour_angle), np.cos(phi) * np.tan(declination) - np.sin(phi) * np.cos(hour_angle))
    )
    return SunPosition(90.0 - elevation - _refraction(elevation), np.mod(azimuth, 360.0))


def _refraction(elevation: FloatArray) -> FloatArray:
    """Return by how much air lifts the sun [degree]; 0.56 below the horizon (Michalsky 1988)."""
    above = np.maximum(elevation, -0.56)
    return 3.51561 * (0.1594 + 0.0196 * above + 0.00002 * above**2) / (1.0 + 0.505 * above + 0.0845 * above**2)


def clear_sky_w_m2(zenith: FloatArray) -> FloatArray:
    """Return global horizontal irradiance without clouds [W/m2], 0 below the horizon.

    Source: B. Haurwitz, "Insolation in relation to cloudiness and cloud density", J. Meteorology 2 (1945) 154-166.
    """
    cosine = np.cos(np.radians(np.minimum(zenith, 89.999)))
    return np.where(zenith < 90.0, 1098.0 * cosine * np.exp(-0.059 / cosine), 0.0)


def wet_bulb_c(temperature_c: FloatArray, humidity_percent: FloatArray) -> FloatArray:
    """Return the wet-bulb temperature [C] at sea-level pressure; errors are 0.3 K on average, 1 K at most.

    Source: R. Stull, "Wet-bulb temperature from relative humidity and air temperature", J. Applied Meteorology and
    Climatology 50 (2011) 2267-2269.
    """
    t, rh = temperature_c, humidity_percent
    return (
        t * np.arctan(0.151977 * np.sqrt(rh + 8.313659))
        + np.arctan(t + rh)
        - np.arctan(rh - 1.676331)
        + 0.00391838 * rh**1.5 * np.arctan(0.023101 * rh)
        - 4.686035
    )


class Weather(NamedTuple):
    """Weather at some instants: temperatures [C], humidity [%], horizontal irradiance [W/m2], rain [mm/h]."""

    ambient_c: FloatArray
    wet_bulb_c: FloatArray
    humidity_percent: FloatArray
    irradiance_w_m2: FloatArray
    rain_mm_h: FloatArray


@dataclass(frozen=True, slots=True)
class Sky:
    """The sky over one site under one seed."""

    seed: int
    latitude: float = DEFAULT_LATITUDE
    longitude: float = DEFAULT_LONGITUDE

    def weather(self, time_s: FloatArray) -> Weather:
        """Return the weather at `time_s`, seconds since 1970-01-01 UTC, float64[n]."""
        swing = np.cos(2 * np.pi * (time_s / 3600.0 + self.longitude / 15.0 - SUNNY_HOUR) / 24.0)
        front = smooth(stream(self.seed, "sky", "front"), time_s, 2.5 * _S_PER_DAY)
        ambient = self._seasonal_mean_c(time_s) + 4.0 * swing + 3.0 * front
        damp = smooth(stream(self.seed, "sky", "humidity"), time_s, 0.8 * _S_PER_DAY)
        humidity = np.clip(77.0 - 9.0 * swing + 10.0 * damp, 35.0, 98.0)
        clear = clear_sky_w_m2(sun_position(time_s, self.latitude, self.longitude).zenith)
        light = clear * self._transmission(time_s)
        return Weather(ambient, wet_bulb_c(ambient, humidity), humidity, light, self._rain_mm_h(time_s))

    def _seasonal_mean_c(self, time_s: FloatArray) -> FloatArray:
        """Straight lines between the middles of the months; half a year later in the southern hemisphere."""
        shift = 0.0 if self.latitude >= 0 else _DAYS_A_YEAR / 2
        day = (time_s - _YEAR_START_S) / _S_PER_DAY + shift
        middles = (np.arange(12) + 0.5) * _DAYS_A_MONTH
        return np.interp(day, middles, _MONTHLY_MEAN_C, period=_DAYS_A_YEAR)

    def _rain_mm_h(self, time_s: FloatArray) -> FloatArray:
        """Return rain out of the thickest banks of clouds [mm/h]; it adds up to about 900 mm a year, as in Mianyang."""
        bank = smooth(stream(self.seed, "sky", "clouds"), time_s, 4 * 3600.0)
        return _RAIN_MM_H * np.maximum(-bank - _RAIN_FROM, 0.0)

    def _transmission(self, time_s: FloatArray) -> FloatArray:
        """Share of the clear sky's light that the clouds let through: banks of hours, single clouds of minutes.

        The mean of about one half brings the yield near the 757 kWh/kWp a year that plants around Mianyang report.
        """
        bank = smooth(stream(self.seed, "sky", "clouds"), time_s, 4 * 3600.0)
        single = smooth(stream(self.seed, "sky", "cloud"), time_s, 420.0)
        return np.clip(0.46 + 0.5 * bank + 0.25 * single * (1.0 - bank**2), 0.08, 1.0)
