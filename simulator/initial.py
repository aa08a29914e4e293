"""Where the counters of a meter stand at the anchor: a plant has been running for a while."""

from __future__ import annotations

from emsd.plant.modbus_map import RegisterType
from emsd.plant.profile import Profile
from emsd.quantities import BY_NAME, Kind
from simulator.noise import uniform_of

__all__ = ["initial_counters"]

_LONG_H = (2000.0, 4000.0)
"""Age of a meter at the anchor: at least, and spread [h]."""

_SHORT_H = (72.0, 48.0)
"""Age of a meter whose counters are single precision [h].

An f32 steps by more than 0.01 kWh above 131,072 kWh: with a long past, a demonstration of a minute would measure the
format and not the service.
"""

# Of the rated power [kW], as a mean over the past; hours count themselves.
_PER_RATED_KW = {"kWh": 0.6, "kvarh": 0.2, "kVAh": 0.65, "Nm3": 5.0, "m3": 0.6, "kg": 0.8}
_PULSES_PER_RATED_KW = 0.6
_STARTS_PER_H = 0.05
_RAIN_MM_PER_H = 0.1
_LOADED_SHARE = 0.7


def initial_counters(
    profile: Profile, seed: int, meter_key: str, rated_kw: float, *, generator: bool
) -> dict[str, float]:
    """Return the counters of a meter at the anchor, each in its quantity's unit.

    rated_kw    rated power of what it measures [kW]
    generator   energy has flowed out only, else in only
    """
    points = profile.modbus.points if profile.modbus else ()
    single = {point.quantity for point in points if point.type is RegisterType.F32}
    found: dict[str, float] = {}
    for name in profile.quantities:
        if BY_NAME[name].kind is not Kind.COUNTER:
            continue
        least_h, spread_h = _SHORT_H if name in single else _LONG_H
        age_h = least_h + spread_h * uniform_of(seed, "initial", name, meter_key)
        found[name] = age_h * _size(name, rated_kw, generator=generator)
    if "loaded_hours_h" in found and "running_hours_h" in found:
        found["loaded_hours_h"] = _LOADED_SHARE * found["running_hours_h"]
    if "starts_count" in found:
        found["starts_count"] = float(int(found["starts_count"]))
    return found


def _size(name: str, rated_kw: float, *, generator: bool) -> float:
    """Return by how much a counter has grown in each hour."""
    unit = BY_NAME[name].unit
    if unit in {"kWh", "kvarh"} and ("export" in name) is not generator:
        return 0.0
    if unit in _PER_RATED_KW:
        return _PER_RATED_KW[unit] * rated_kw
    if name.startswith("pulse_"):
        return _PULSES_PER_RATED_KW * rated_kw
    return {"h": 1.0, "mm": _RAIN_MM_PER_H}.get(unit, _STARTS_PER_H)
