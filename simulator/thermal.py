"""What meters of heat and cold show: water, steam, and the refrigerant circuit of a chiller.

Heat follows the asset: a chiller takes it out of its water by its curves, any other asset gives off as much heat as it
draws power for. Pumps follow the load, so flow is a straight line of it, and every counter is an exact integral:
thermal power = flow x 4.186 kJ/(kg K) x temperature difference, with 1 kg a litre.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulator.instruments import Look
from simulator.noise import FloatArray
from simulator.physics.chilled_water import REFERENCE_COP

__all__ = ["chilled_water", "condensing_bar", "heat_meter", "heat_volumes", "refrigerant_circuit", "steam"]

KJ_PER_KG_K = 4.186
"""Specific heat of water."""

_ATMOSPHERE_BAR = 1.01325
_DESIGN_K = 5.0  # chilled water at full load
_HEATING_K = 20.0  # heating water at full load
_LEAST_FLOW = 0.4  # of the design flow, as pumps and evaporators want it
_SUPPLY_C = 70.0

# Saturated steam at 8 bar absolute, and how its temperature changes with pressure. Source: IAPWS-IF97.
_STEAM_KJ_PER_KG = 2768.3
_STEAM_BAR = 8.0 - _ATMOSPHERE_BAR
_STEAM_C = 170.4
_STEAM_C_PER_BAR = 5.2

# Vapour pressure of R134a, ln(p) = A - B/T with p [bar absolute], T [K]: 3.497 bar at 5 C, 8.870 bar at 35 C.
# Source: NIST Chemistry WebBook, saturation properties of 1,1,1,2-tetrafluoroethane.
_R134A_A, _R134A_B = 10.8125, 2659.3


class _Circuit(NamedTuple):
    """Water through an asset: heat that it carries [kW], flow [m3/h], and difference of its two temperatures [K]."""

    heat_kw: FloatArray
    flow_m3h: FloatArray
    difference_k: FloatArray


def _full_kw(view: Look) -> FloatArray:
    """Heat at full load [kW]."""
    return view.meter.rated_kw * np.where(view.meter.is_cooling > 0, REFERENCE_COP, 1.0)


def _design_m3h(view: Look) -> FloatArray:
    kelvin = np.where(view.meter.is_cooling > 0, _DESIGN_K, _HEATING_K)
    return _full_kw(view) / (kelvin * KJ_PER_KG_K) * 3.6


def _circuit(view: Look) -> _Circuit:
    heat = np.maximum(view.row(view.meter.heat_row, view.meter.heat_factor), 0.0)
    flow = _design_m3h(view) * (_LEAST_FLOW * view.running + (1.0 - _LEAST_FLOW) * np.maximum(view.load, 0.0))
    flows = flow > 0
    return _Circuit(heat, flow, np.where(flows, heat * 3.6 / (np.where(flows, flow, 1.0) * KJ_PER_KG_K), 0.0))


def heat_volumes(view: Look) -> tuple[FloatArray, FloatArray]:
    """Return heat [kWh] and water [m3] that went through since the anchor."""
    meter = view.meter
    heat_kwh = view.integral(meter.heat_row, meter.heat_factor)
    loaded_h = view.integral(meter.load_row, meter.load_factor)
    water = _design_m3h(view) * (_LEAST_FLOW * view.running_h + (1.0 - _LEAST_FLOW) * loaded_h)
    return heat_kwh, water


def _leaving_c(view: Look) -> FloatArray:
    return view.site_row("chilled_water_c") + 0.15 * view.own_noise(21, 240.0)


def chilled_water(view: Look) -> dict[str, FloatArray]:
    """A chiller that keeps its set-point; the water it gets back is warmer by the heat it takes out."""
    load = np.clip(view.load, 0.0, 1.0)
    circuit, leaving = _circuit(view), _leaving_c(view)
    entering_condenser = view.site_row("condenser_water_c")
    rise = _condenser_rise_k(view, circuit)
    return {
        "chilled_water_leaving_temperature_c": leaving,
        "chilled_water_entering_temperature_c": leaving + circuit.difference_k,
        "condenser_water_entering_temperature_c": entering_condenser,
        "condenser_water_leaving_temperature_c": entering_condenser + rise,
        "chilled_water_setpoint_c": view.site_row("chilled_water_c"),
        "evaporator_refrigerant_temperature_c": leaving - 1.5 - load,
        "condenser_refrigerant_temperature_c": entering_condenser + rise + 1.5,
        "water_flow_m3h": circuit.flow_m3h,
    }


def _condenser_rise_k(view: Look, circuit: _Circuit) -> FloatArray:
    """Return by how much water leaves the condenser warmer [K]: it takes away the cold and the machine's power."""
    power = np.maximum(view.row(view.meter.work_row, view.meter.work_factor), 0.0)
    return _DESIGN_K * (circuit.heat_kw + power) / _full_kw(view)


def heat_meter(view: Look) -> dict[str, FloatArray]:
    """A meter in the water of the asset: cold behind a chiller, heat behind anything else."""
    circuit = _circuit(view)
    cooling = view.meter.is_cooling > 0
    leaving = _leaving_c(view)
    hot = _SUPPLY_C + 0.5 * view.own_noise(23, 600.0)
    heat_kwh, water_m3 = heat_volumes(view)
    return {
        "thermal_power_kw": circuit.heat_kw,
        "supply_temperature_c": np.where(cooling, leaving, hot),
        "return_temperature_c": np.where(cooling, leaving + circuit.difference_k, hot - circuit.difference_k),
        "heating_energy_kwh": view.initial("heating_energy_kwh") + np.where(cooling, 0.0, heat_kwh),
        "cooling_energy_kwh": view.initial("cooling_energy_kwh") + np.where(cooling, heat_kwh, 0.0),
        "water_volume_m3": view.initial("water_volume_m3") + water_m3,
    }


def steam(view: Look) -> dict[str, FloatArray]:
    """Saturated steam of about 7 bar; its heat counts from water of 0 C."""
    kg_per_kwh = 3600.0 / _STEAM_KJ_PER_KG
    swing_bar = 0.1 * view.own_noise(24, 300.0)
    heat_kwh, _ = heat_volumes(view)
    return {
        "steam_flow_kgh": _circuit(view).heat_kw * kg_per_kwh,
        "steam_mass_kg": view.initial("steam_mass_kg") + heat_kwh * kg_per_kwh,
        "steam_pressure_bar": _STEAM_BAR + swing_bar,
        "steam_temperature_c": _STEAM_C + _STEAM_C_PER_BAR * swing_bar,
    }


def _saturation_bar(temperature_c: FloatArray) -> FloatArray:
    """Return the gauge pressure at which R134a boils [bar]."""
    return np.exp(_R134A_A - _R134A_B / (temperature_c + 273.15)) - _ATMOSPHERE_BAR


def condensing_bar(view: Look) -> FloatArray:
    """Return the gauge pressure in the condenser [bar]."""
    return _saturation_bar(chilled_water(view)["condenser_refrigerant_temperature_c"])


def refrigerant_circuit(view: Look) -> dict[str, FloatArray]:
    """Pressures are those at which R134a boils at the temperatures of evaporator and condenser."""
    load = np.clip(view.load, 0.0, 1.0)
    water = chilled_water(view)
    evaporating = water["evaporator_refrigerant_temperature_c"]
    condensing = water["condenser_refrigerant_temperature_c"]
    low, high = _saturation_bar(evaporating), _saturation_bar(condensing)
    return {
        "suction_pressure_bar": low - 0.1,
        "evaporator_pressure_bar": low,
        "condenser_pressure_bar": high,
        "suction_temperature_c": evaporating + 5.0,
        "discharge_temperature_c": condensing + 16.0 + 8.0 * load,
        "oil_pressure_bar": high - 0.4,
        "oil_temperature_c": condensing + 6.0 + 4.0 * load,
    }
