"""Psychrometrics of outdoor air, vectorised.

Source: ASHRAE Handbook Fundamentals 2017, chapter 1 (SI): equations 5, 6, 22, 30 and 33.
"""

from __future__ import annotations

import numpy as np

from simulator.noise import FloatArray

__all__ = ["SEA_LEVEL_PA", "enthalpy_kj_kg", "humidity_ratio", "saturation_pa", "wet_bulb_c"]

SEA_LEVEL_PA = 101_325.0

# Saturation pressure over ice and over water, ln p = c1/T + c2 + c3 T + c4 T^2 + c5 T^3 (+ c6 T^4) + c7 ln T.
_ICE = (-5.6745359e3, 6.3925247, -9.677843e-3, 6.2215701e-7, 2.0747825e-9, -9.484024e-13, 4.1635019)
_WATER = (-5.8002206e3, 1.3914993, -4.8640239e-2, 4.1764768e-5, -1.4452093e-8, 0.0, 6.5459673)
_ROUNDS = 24


def saturation_pa(temperature_c: FloatArray) -> FloatArray:
    """Return the pressure of saturated water vapour [Pa], over ice below 0.01 C; good from -100 to 200 C."""
    kelvin = temperature_c + 273.15
    return np.where(temperature_c <= 0.01, _vapour_pa(_ICE, kelvin), _vapour_pa(_WATER, kelvin))


def _vapour_pa(c: tuple[float, ...], kelvin: FloatArray) -> FloatArray:
    polynomial = c[1] + kelvin * (c[2] + kelvin * (c[3] + kelvin * (c[4] + kelvin * c[5])))
    result: FloatArray = np.exp(c[0] / kelvin + polynomial + c[6] * np.log(kelvin))
    return result


def humidity_ratio(
    temperature_c: FloatArray, humidity_percent: FloatArray, pressure_pa: float = SEA_LEVEL_PA
) -> FloatArray:
    """Return the mass of water vapour for each mass of dry air [kg/kg]."""
    vapour = humidity_percent / 100.0 * saturation_pa(temperature_c)
    return 0.621945 * vapour / (pressure_pa - vapour)


def enthalpy_kj_kg(
    temperature_c: FloatArray, humidity_percent: FloatArray, pressure_pa: float = SEA_LEVEL_PA
) -> FloatArray:
    """Return the enthalpy of moist air for each kg of dry air, from dry air at 0 C [kJ/kg]."""
    ratio = humidity_ratio(temperature_c, humidity_percent, pressure_pa)
    return 1.006 * temperature_c + ratio * (2501.0 + 1.86 * temperature_c)


def wet_bulb_c(
    temperature_c: FloatArray, humidity_percent: FloatArray, pressure_pa: float = SEA_LEVEL_PA
) -> FloatArray:
    """Return the thermodynamic wet-bulb temperature [C], to 1e-5 K.

    It is found by bisection between 60 K below the air and the air itself: below every dew point above 1 % humidity.
    """
    ratio = humidity_ratio(temperature_c, humidity_percent, pressure_pa)
    low, high = temperature_c - 60.0, np.array(temperature_c, dtype=np.float64)
    for _ in range(_ROUNDS):
        middle = 0.5 * (low + high)
        dry_enough = _ratio_at_wet_bulb(temperature_c, middle, pressure_pa) <= ratio
        low = np.where(dry_enough, middle, low)
        high = np.where(dry_enough, high, middle)
    result: FloatArray = 0.5 * (low + high)
    return result


def _ratio_at_wet_bulb(temperature_c: FloatArray, wet_c: FloatArray, pressure_pa: float) -> FloatArray:
    """Return the humidity ratio of air whose wet bulb is known, above and below freezing (equations 33 and 35)."""
    saturated = humidity_ratio(wet_c, np.full_like(wet_c, 100.0), pressure_pa)
    over_water = ((2501.0 - 2.326 * wet_c) * saturated - 1.006 * (temperature_c - wet_c)) / (
        2501.0 + 1.86 * temperature_c - 4.186 * wet_c
    )
    over_ice = ((2830.0 - 0.24 * wet_c) * saturated - 1.006 * (temperature_c - wet_c)) / (
        2830.0 + 1.86 * temperature_c - 2.1 * wet_c
    )
    return np.where(wet_c >= 0.0, over_water, over_ice)
