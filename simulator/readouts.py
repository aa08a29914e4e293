"""What meters would show: every canonical quantity, from the power, load and weather behind it.

Each group of quantities belongs to one kind of instrument and is computed only when one of its quantities is wanted; a
meter may show any of them, whatever its asset is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np

from emsd.quantities import RUN_STATE_CODES, RunState
from simulator.instruments import Instrument, Look
from simulator.noise import FloatArray, IntArray, Stream
from simulator.physics.compressed_air import AIR_NM3_PER_KWH
from simulator.physics.weather import PRESSURE_HPA
from simulator.tables import Tables
from simulator.thermal import chilled_water, condensing_bar, heat_meter, heat_volumes, refrigerant_circuit, steam

__all__ = ["SHOWN", "look"]

_SQRT_3 = 3.0**0.5
_MOTOR_POWER_FACTOR = 0.88
_LOWER_BAR, _UPPER_BAR = 6.8, 7.5
_PIPE_M_S = 30.0  # velocity at normal conditions and full flow, for which the pipe of the flow meter is chosen
_PIECES_PER_KWH = 0.05  # a glass substrate takes some 20 kWh on its way through a tool
_GOOD_SHARE = 0.97
_GAS_M3_PER_KWH = 0.02
_GAS_KG_PER_M3 = 0.73  # natural gas, mostly methane, at 15 degC and one atmosphere


def look(
    meter: Instrument, tables: Tables, site: Stream, time_us: IntArray, anchor_us: int, wanted: Iterable[str]
) -> dict[str, FloatArray]:
    """Return the wanted quantities of stacked meters at some instants.

    time_us  int64[n]; with m meters either m or n is 1
    site     chance that all meters of the site share: grid voltage and frequency

    Beside the vocabulary there is current_total_a, which SunSpec inverters must have. Raises KeyError for any other.
    """
    shape = np.broadcast_shapes(meter.active_row.shape, time_us.shape)
    view = Look(meter, tables, site, time_us, (time_us - anchor_us) / 3.6e9)
    known: dict[str, FloatArray] = {}
    result: dict[str, FloatArray] = {}
    for name in wanted:
        if name not in known:
            known.update(_GROUP_OF[name](view))
        value = known[name]
        result[name] = value if value.shape == shape else np.broadcast_to(value, shape)
    return result


def _power(view: Look) -> dict[str, FloatArray]:
    p = view.active_kw
    q = view.row(view.meter.reactive_row, view.meter.reactive_factor)
    s = np.hypot(p, q)
    drawn = s > 0
    return {
        "active_power_kw": p,
        "reactive_power_kvar": q,
        "apparent_power_kva": s,
        "power_factor": np.where(drawn, p / np.where(drawn, s, 1.0), 1.0),
    }


def _phases(view: Look) -> dict[str, FloatArray]:
    meter, power = view.meter, _power(view)
    p, s = power["active_power_kw"], power["apparent_power_kva"]
    shares = (meter.share_l1, meter.share_l2, 1.0 - meter.share_l1 - meter.share_l2)
    phase_v = meter.nominal_v / _SQRT_3 * (1.0 + 0.012 * view.site_noise(1, 600.0) + 0.003 * view.site_noise(2, 20.0))
    v1, v2, v3 = phase_v * (1.0 + 0.002 * meter.level), phase_v, phase_v * (1.0 - 0.003 * meter.level)
    currents = [s * share * 1000.0 / v for share, v in zip(shares, (v1, v2, v3), strict=True)]
    i1, i2, i3 = currents
    neutral = np.sqrt(np.maximum(i1**2 + i2**2 + i3**2 - i1 * i2 - i2 * i3 - i3 * i1, 0.0))
    return {
        "active_power_l1_kw": p * shares[0],
        "active_power_l2_kw": p * shares[1],
        "active_power_l3_kw": p * shares[2],
        "frequency_hz": 50.0 + 0.03 * view.site_noise(3, 40.0),
        "voltage_l1_n_v": v1,
        "voltage_l2_n_v": v2,
        "voltage_l3_n_v": v3,
        "voltage_l1_l2_v": np.sqrt(v1**2 + v2**2 + v1 * v2),
        "voltage_l2_l3_v": np.sqrt(v2**2 + v3**2 + v2 * v3),
        "voltage_l3_l1_v": np.sqrt(v3**2 + v1**2 + v3 * v1),
        "current_l1_a": i1,
        "current_l2_a": i2,
        "current_l3_a": i3,
        "current_n_a": neutral,
        "current_total_a": i1 + i2 + i3,
        "voltage_thd_percent": 1.8 + 0.5 * view.site_noise(4, 900.0),
        "current_thd_percent": np.where(s > 0, 4.0 + 6.0 * meter.level + view.own_noise(5, 300.0), 0.0),
    }


def _energy(view: Look) -> dict[str, FloatArray]:
    meter = view.meter
    active = view.tables.integral(meter.active_row, view.time_us)
    reactive = view.tables.integral(meter.reactive_row, view.time_us)
    apparent = view.tables.integral(meter.apparent_row, view.time_us)
    return {
        "energy_import_kwh": view.initial("energy_import_kwh") + active.positive * meter.active_factor,
        "energy_export_kwh": view.initial("energy_export_kwh") + active.negative * meter.active_factor,
        "reactive_energy_import_kvarh": view.initial("reactive_energy_import_kvarh")
        + reactive.positive * meter.reactive_factor,
        "reactive_energy_export_kvarh": view.initial("reactive_energy_export_kvarh")
        + reactive.negative * meter.reactive_factor,
        "apparent_energy_import_kvah": view.initial("apparent_energy_import_kvah")
        + (apparent.positive + apparent.negative) * meter.apparent_factor,
    }


def _machine(view: Look) -> dict[str, FloatArray]:
    meter, load = view.meter, view.load
    codes = {state: RUN_STATE_CODES[state] for state in RunState}
    compressor = np.where(view.loaded, codes[RunState.LOADED], codes[RunState.UNLOADED])
    compressor = np.where(view.running > 0.0, compressor, codes[RunState.OFF])
    other = np.where(load > 0.0, codes[RunState.RUNNING], codes[RunState.OFF])
    loaded_h = view.integral(meter.load_row, meter.load_factor)
    starts = np.floor(view.integral(meter.starts_row, meter.starts_factor) + 0.5)
    return {
        "run_state": np.where(meter.is_compressor > 0, compressor, other),
        "capacity_percent": 100.0 * np.clip(load, 0.0, 1.0),
        "running_hours_h": view.initial("running_hours_h") + view.running_h,
        "loaded_hours_h": view.initial("loaded_hours_h") + loaded_h,
        "starts_count": view.initial("starts_count") + starts,
    }


def _air(view: Look) -> dict[str, FloatArray]:
    """Loaded a machine fills the receiver, unloaded the net empties it; all of them push into the same net."""
    meter, load, ambient = view.meter, view.load, view.site_row("ambient_c")
    receiver = np.clip(view.row(meter.receiver_row, np.ones(1)), 0.0, 1.0)
    discharge = _LOWER_BAR + (_UPPER_BAR - _LOWER_BAR) * receiver + view.site_row("air_setpoint_bar")
    if np.any(meter.is_cooling):
        discharge = np.where(meter.is_cooling > 0, condensing_bar(view), discharge)
    at_work = 68.0 + 0.4 * ambient + 3.0 * meter.level + view.own_noise(11, 400.0)
    running = view.running
    warm = ambient + running * (at_work - ambient)
    drop = 0.12 + 0.18 * meter.level
    return {
        "discharge_pressure_bar": discharge,
        "sump_pressure_bar": np.where(view.loaded, discharge + drop + 0.15, 2.5 * running),
        "separator_pressure_drop_bar": drop * np.clip(load, 0.1, 1.0),
        "airend_temperature_c": warm + 12.0 * running,
        "coolant_temperature_c": warm,
        "aftercooler_temperature_c": ambient + 9.0 * running,
        "air_flow_nm3h": _air_nm3h(meter) * load,
        "air_volume_nm3": view.initial("air_volume_nm3") + _air_nm3(view),
        "line_pressure_bar": discharge - 0.15,
        "dew_point_c": 3.0 + 1.5 * view.own_noise(12, 900.0),
        "flow_velocity_m_s": _PIPE_M_S * load,
    }


def _air_nm3h(meter: Instrument) -> FloatArray:
    """Return the flow of a compressor at full load."""
    return meter.rated_kw * AIR_NM3_PER_KWH


def _air_nm3(view: Look) -> FloatArray:
    """Return the compressed air made since the anchor."""
    return _air_nm3h(view.meter) * view.integral(view.meter.load_row, view.meter.load_factor)


def _drive(view: Look) -> dict[str, FloatArray]:
    """A two-pole motor: at mains frequency in a fixed-speed compressor, else on a drive that follows the load.

    A screw gives air in proportion to its speed; impellers must keep up their head and never turn slower than half.
    """
    load = np.clip(view.load, 0.0, 1.0)
    slowest = np.where(view.meter.is_compressor > 0, 0.0, 25.0)
    on_drive = np.where(load > 0, slowest + (50.0 - slowest) * load, 0.0)
    mains = np.where(view.running > 0, 50.0, 0.0)
    frequency = np.where(view.row(view.meter.drive_row, np.ones(1)) >= 0.5, on_drive, mains)
    kva = np.abs(view.active_kw) / _MOTOR_POWER_FACTOR
    return {
        "motor_current_a": kva * 1000.0 / (_SQRT_3 * view.meter.nominal_v),
        "motor_speed_rpm": frequency * 60.0 * 0.985,
        "drive_frequency_hz": frequency,
        "alarm_code": np.zeros(1),
    }


def _pulses(view: Look) -> dict[str, FloatArray]:
    """Pulse counters on the asset's meters: electricity [kWh], water [m3], compressed air [Nm3], heat or cold [kWh]."""
    meter = view.meter
    heat_kwh, water_m3 = heat_volumes(view)
    return {
        "pulse_1_total": view.initial("pulse_1_total") + view.integral(meter.active_row, meter.active_factor),
        "pulse_2_total": view.initial("pulse_2_total") + water_m3,
        "pulse_3_total": view.initial("pulse_3_total") + _air_nm3(view),
        "pulse_4_total": view.initial("pulse_4_total") + heat_kwh,
    }


def _pieces(view: Look) -> dict[str, FloatArray]:
    """Pieces that went through an asset while it had lots in work, and the good ones of them."""
    worked_kwh = view.integral(view.meter.work_row, view.meter.work_factor)
    pieces = view.initial("pieces_count") + _PIECES_PER_KWH * worked_kwh
    return {"pieces_count": np.floor(pieces), "good_pieces_count": np.floor(_GOOD_SHARE * pieces)}


def _gas(view: Look) -> dict[str, FloatArray]:
    """Gas that an asset used while it had lots in work."""
    used_m3 = _GAS_M3_PER_KWH * view.integral(view.meter.work_row, view.meter.work_factor)
    return {
        "gas_volume_m3": view.initial("gas_volume_m3") + used_m3,
        "gas_mass_kg": view.initial("gas_mass_kg") + _GAS_KG_PER_M3 * used_m3,
    }


def _direct_current(view: Look) -> dict[str, FloatArray]:
    power = np.maximum(-view.active_kw, 0.0) / 0.97
    lit = power > 0
    voltage = np.where(lit, 690.0 - 2.0 * (view.site_row("ambient_c") - 20.0) + 8.0 * view.own_noise(31, 200.0), 0.0)
    return {
        "dc_power_kw": power,
        "dc_voltage_v": voltage,
        "dc_current_a": np.where(lit, power * 1000.0 / np.where(lit, voltage, 1.0), 0.0),
        "cabinet_temperature_c": view.site_row("ambient_c") + 6.0 + 18.0 * np.abs(view.load),
    }


def _outdoors(view: Look) -> dict[str, FloatArray]:
    """A pyranometer at night looks into a sky colder than itself and shows slightly less than nothing."""
    light, ambient = view.site_row("irradiance_w_m2"), view.site_row("ambient_c")
    dark = -1.2 + 0.6 * view.own_noise(41, 600.0)
    return {
        "irradiance_w_m2": np.where(light > 0, light, dark),
        "irradiance_poa_w_m2": np.where(light > 0, view.site_row("irradiance_poa_w_m2"), dark),
        "module_temperature_c": view.site_row("module_temperature_c"),
        "ambient_temperature_c": ambient,
        "sensor_temperature_c": ambient + 0.006 * light,
        "wind_speed_m_s": view.site_row("wind_m_s"),
        "wind_direction_deg": 180.0 + 150.0 * view.site_noise(63, 4 * 3600.0) + 20.0 * view.site_noise(64, 30.0),
        "rain_mm": view.initial("rain_mm") + view.site_row_since("rain_mm_h"),
        "air_pressure_hpa": PRESSURE_HPA + 9.0 * view.site_noise(65, 2 * 86_400.0),
    }


def _room(view: Look) -> dict[str, FloatArray]:
    outdoor = view.site_row("humidity_percent")
    indoor = 45.0 + 1.5 * view.own_noise(51, 1200.0)
    return {
        "relative_humidity_percent": np.where(view.meter.is_outdoor > 0, outdoor, indoor),
        "room_temperature_c": 22.0 + 0.25 * view.own_noise(52, 900.0),
        "room_pressure_pa": 21.0 + 1.5 * view.own_noise(53, 120.0),
    }


_Group = Callable[[Look], dict[str, FloatArray]]

_GROUPS: dict[_Group, str] = {
    _power: "active_power_kw reactive_power_kvar apparent_power_kva power_factor",
    _phases: "active_power_l1_kw active_power_l2_kw active_power_l3_kw frequency_hz "
    "voltage_l1_n_v voltage_l2_n_v voltage_l3_n_v voltage_l1_l2_v "
    "voltage_l2_l3_v voltage_l3_l1_v current_l1_a current_l2_a current_l3_a current_n_a current_total_a "
    "voltage_thd_percent current_thd_percent",
    _energy: "energy_import_kwh energy_export_kwh reactive_energy_import_kvarh reactive_energy_export_kvarh "
    "apparent_energy_import_kvah",
    _machine: "run_state capacity_percent running_hours_h loaded_hours_h starts_count",
    _air: "discharge_pressure_bar sump_pressure_bar separator_pressure_drop_bar airend_temperature_c "
    "coolant_temperature_c aftercooler_temperature_c air_flow_nm3h air_volume_nm3 line_pressure_bar dew_point_c "
    "flow_velocity_m_s",
    _drive: "motor_current_a motor_speed_rpm drive_frequency_hz alarm_code",
    _pulses: "pulse_1_total pulse_2_total pulse_3_total pulse_4_total",
    _pieces: "pieces_count good_pieces_count",
    _gas: "gas_volume_m3 gas_mass_kg",
    chilled_water: "chilled_water_leaving_temperature_c chilled_water_entering_temperature_c "
    "condenser_water_leaving_temperature_c condenser_water_entering_temperature_c chilled_water_setpoint_c "
    "evaporator_refrigerant_temperature_c condenser_refrigerant_temperature_c water_flow_m3h",
    heat_meter: "thermal_power_kw supply_temperature_c return_temperature_c heating_energy_kwh cooling_energy_kwh "
    "water_volume_m3",
    steam: "steam_flow_kgh steam_mass_kg steam_pressure_bar steam_temperature_c",
    refrigerant_circuit: "suction_pressure_bar evaporator_pressure_bar condenser_pressure_bar suction_temperature_c "
    "discharge_temperature_c oil_pressure_bar oil_temperature_c",
    _direct_current: "dc_power_kw dc_voltage_v dc_current_a cabinet_temperature_c",
    _outdoors: "irradiance_w_m2 irradiance_poa_w_m2 module_temperature_c ambient_temperature_c sensor_temperature_c "
    "wind_speed_m_s wind_direction_deg rain_mm air_pressure_hpa",
    _room: "relative_humidity_percent room_temperature_c room_pressure_pa",
}

_GROUP_OF: dict[str, _Group] = {name: group for group, names in _GROUPS.items() for name in names.split()}

SHOWN: Final = frozenset(_GROUP_OF)
"""Quantities that a simulated meter can show."""
