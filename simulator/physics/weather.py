"""Weather of a site: sun and clouds, temperature and humidity, wind and rain.

The climate is that of Mianyang, Sichuan (31.47 N, 104.68 E, 500 m), whatever the site: the simulator wants plausible
heat, not a forecast. Only the sun follows the site's own latitude and longitude.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from pvlib import atmosphere, clearsky, irradiance, spa

from simulator.noise import FloatArray, smooth, stream
from simulator.physics.moist_air import enthalpy_kj_kg, wet_bulb_c

__all__ = ["DEFAULT_LATITUDE", "DEFAULT_LONGITUDE", "PRESSURE_HPA", "SUNNY_HOUR", "Sky", "Sun", "Weather", "sun_at"]

DEFAULT_LATITUDE = 31.47
DEFAULT_LONGITUDE = 104.68

SUNNY_HOUR = 15.0
"""Local solar time at which a day is warmest [h]."""

# Monthly means of Mianyang [C], January first.
_MONTHLY_MEAN_C = (6.2, 8.4, 12.3, 17.5, 22.0, 24.6, 27.2, 27.0, 23.0, 17.6, 12.7, 7.5)
_DAYS_A_YEAR = 365.2425
_DAYS_A_MONTH = _DAYS_A_YEAR / 12
_S_PER_DAY = 86_400.0
_YEAR_START_S = 946_684_800.0  # 2000-01-01 00:00 UTC
_RAIN_MM_H, _RAIN_FROM = 9.0, 0.7  # rain per unit of bank beyond a bank of this thickness

_ALTITUDE_M = 500.0
PRESSURE_HPA = 954.6
"""Mean pressure of the air: standard atmosphere at 500 m."""

_DELTA_T_S = 67.0  # between terrestrial time and UT1, as pvlib assumes
_REFRACTION_DEG = 0.5667  # at sunrise and sunset
_LINKE_TURBIDITY = 4.5  # a hazy basin
_SOLAR_CONSTANT_W_M2 = 1361.0
_DARK_FROM_DEG = 89.5  # apparent zenith: below it light is skylight that no pyranometer tells from noise
_NODE_S = 300.0  # the sun is computed at these steps, and joined by straight lines between them
_AIR_NODE_S = 900.0


class Sun(NamedTuple):
    """Where the sun stands [degree]: apparent (refracted) zenith, true zenith, azimuth clockwise from north."""

    apparent_zenith: FloatArray
    zenith: FloatArray
    azimuth: FloatArray


def sun_at(time_s: FloatArray, latitude: float, longitude: float) -> Sun:
    """Return the position of the sun at 500 m, by the solar position algorithm of NREL as pvlib has it.

    time_s                seconds since 1970-01-01 UTC, float64[n]
    latitude, longitude   [degree], north and east positive
    """
    found = spa.solar_position(
        time_s, latitude, longitude, _ALTITUDE_M, PRESSURE_HPA, 12.0, _DELTA_T_S, _REFRACTION_DEG
    )
    return Sun(found[0], found[1], found[4])


class Weather(NamedTuple):
    """Weather at some instants."""

    ambient_c: FloatArray
    wet_bulb_c: FloatArray
    humidity_percent: FloatArray
    enthalpy_kj_kg: FloatArray
    """Of the moist air, for each kg of dry air."""
    irradiance_w_m2: FloatArray
    """Global, on level ground."""
    irradiance_poa_w_m2: FloatArray
    """In the plane of the modules."""
    wind_m_s: FloatArray
    rain_mm_h: FloatArray


@dataclass(frozen=True, slots=True)
class Sky:
    """The sky over one site under one seed, and roofs that lean `tilt_deg` towards the equator."""

    seed: int
    latitude: float = DEFAULT_LATITUDE
    longitude: float = DEFAULT_LONGITUDE
    tilt_deg: float = 10.0

    def weather(self, time_s: FloatArray) -> Weather:
        """Return the weather at `time_s`, seconds since 1970-01-01 UTC, float64[n], rising."""
        swing = np.cos(2 * np.pi * (time_s / 3600.0 + self.longitude / 15.0 - SUNNY_HOUR) / 24.0)
        ambient = self._ambient_c(time_s, swing)
        humidity = self._humidity_percent(time_s, swing)
        wet_bulb, enthalpy = self._moist(time_s)
        level, plane = self._light(time_s)
        wind = stream(self.seed, "sky", "wind")
        gusts = 2.4 + 1.8 * smooth(wind, time_s, 5400.0) + 0.6 * smooth(wind + np.uint64(1), time_s, 20.0)
        return Weather(ambient, wet_bulb, humidity, enthalpy, level, plane, gusts, self._rain_mm_h(time_s))

    def _ambient_c(self, time_s: FloatArray, swing: FloatArray) -> FloatArray:
        front = smooth(stream(self.seed, "sky", "front"), time_s, 2.5 * _S_PER_DAY)
        return self._seasonal_mean_c(time_s) + 4.0 * swing + 3.0 * front

    def _humidity_percent(self, time_s: FloatArray, swing: FloatArray) -> FloatArray:
        damp = smooth(stream(self.seed, "sky", "humidity"), time_s, 0.8 * _S_PER_DAY)
        return np.clip(77.0 - 9.0 * swing + 10.0 * damp, 35.0, 98.0)

    def _moist(self, time_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return wet bulb [C] and enthalpy [kJ/kg], from a node every quarter of an hour: air changes slowly."""
        node = _nodes(time_s, _AIR_NODE_S)
        swing = np.cos(2 * np.pi * (node / 3600.0 + self.longitude / 15.0 - SUNNY_HOUR) / 24.0)
        ambient, humidity = self._ambient_c(node, swing), self._humidity_percent(node, swing)
        pressure = 100.0 * PRESSURE_HPA
        wet, heat = wet_bulb_c(ambient, humidity, pressure), enthalpy_kj_kg(ambient, humidity, pressure)
        return np.interp(time_s, node, wet), np.interp(time_s, node, heat)

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

    def _light(self, time_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return irradiance on level ground and in the plane of the modules [W/m2].

        Clear sky by Ineichen and Perez, its direct part under clouds by Erbs, the tilted plane by Hay and Davies.
        """
        node = _nodes(time_s, _NODE_S)
        sun = sun_at(node, self.latitude, self.longitude)
        zenith = np.minimum(sun.apparent_zenith, _DARK_FROM_DEG)
        airmass = atmosphere.get_relative_airmass(zenith)
        absolute = atmosphere.get_absolute_airmass(airmass, 100.0 * PRESSURE_HPA)
        clear = clearsky.ineichen(zenith, absolute, _LINKE_TURBIDITY, _ALTITUDE_M)["ghi"]
        up = sun.apparent_zenith < _DARK_FROM_DEG
        if not up.any():
            dark = np.zeros(time_s.size)
            return dark, dark
        level = np.interp(time_s, node, np.where(up, clear, 0.0)) * self._transmission(time_s)
        place = Sun(
            np.interp(time_s, node, sun.apparent_zenith),
            np.interp(time_s, node, sun.zenith),
            np.mod(np.interp(time_s, node, np.unwrap(sun.azimuth, period=360.0)), 360.0),
        )
        return level, self._in_plane(time_s, level, place)

    def _in_plane(self, time_s: FloatArray, level: FloatArray, sun: Sun) -> FloatArray:
        day_of_year = np.mod((time_s - _YEAR_START_S) / _S_PER_DAY, _DAYS_A_YEAR) + 1.0
        parts = irradiance.erbs(level, sun.zenith, day_of_year)
        extra = _SOLAR_CONSTANT_W_M2 * (1.0 + 0.033 * np.cos(2 * np.pi * day_of_year / 365.0))
        facing = 180.0 if self.latitude >= 0 else 0.0
        beam, diffuse = parts["dni"], parts["dhi"]
        plane = irradiance.get_total_irradiance(
            self.tilt_deg, facing, sun.apparent_zenith, sun.azimuth, beam, level, diffuse, extra, model="haydavies"
        )["poa_global"]
        lit: FloatArray = np.where(level > 0.0, np.maximum(np.nan_to_num(plane), 0.0), 0.0)
        return lit

    def _transmission(self, time_s: FloatArray) -> FloatArray:
        """Share of the clear sky's light that the clouds let through: banks of hours, single clouds of minutes.

        Its mean brings the yield near the 757 kWh/kWp a year of a large roof in this basin.
        """
        bank = smooth(stream(self.seed, "sky", "clouds"), time_s, 4 * 3600.0)
        single = smooth(stream(self.seed, "sky", "cloud"), time_s, 420.0)
        return np.clip(0.42 + 0.48 * bank + 0.25 * single * (1.0 - bank**2), 0.08, 1.0)


def _nodes(time_s: FloatArray, step_s: float) -> FloatArray:
    """Return multiples of a step from before the first time to after the last."""
    first, last = np.floor(time_s[0] / step_s), np.ceil(time_s[-1] / step_s)
    nodes: FloatArray = np.arange(first, last + 1.0) * step_s
    return nodes
