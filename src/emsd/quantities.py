"""The vocabulary: every canonical quantity, its unit, its kind, its column and its plausible range.

A row here is a column of the hypertable `reading`, a name in profiles, in the API and in Grafana. To add one: a line
below and an `ALTER TABLE reading ADD COLUMN` migration; a test holds the two together.

Ranges are wide on purpose: they catch what no plant can produce (a word-swapped float, 2^31, a garbage burst), not what
is merely unusual. Alarms do that. Limits that depend on the equipment (rated power) are applied by the collector.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["BY_NAME", "QUANTITIES", "Kind", "Quantity", "quantity"]


class Kind(StrEnum):
    """A counter only accumulates and is stored in double precision; a gauge is instantaneous and stored as real."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One canonical measured thing.

    `name` is also the column of `reading`; `unit` is what a person reads; `minimum` and `maximum` bound what is
    plausible, in `unit`.
    """

    name: str
    unit: str
    kind: Kind
    minimum: float
    maximum: float
    title: str

    @property
    def sql_type(self) -> str:
        """The column type: counters need 53 bits, gauges do not."""
        return "double precision" if self.kind is Kind.COUNTER else "real"


def _gauge(name: str, unit: str, minimum: float, maximum: float, title: str) -> Quantity:
    return Quantity(name, unit, Kind.GAUGE, minimum, maximum, title)


def _counter(name: str, unit: str, title: str, maximum: float = 1e15) -> Quantity:
    return Quantity(name, unit, Kind.COUNTER, 0.0, maximum, title)


_POWER = 1e6  # 1 GW in kW: above any industrial feeder
_VOLTAGE = 60_000.0  # a 36 kV switchgear class and its overvoltage

QUANTITIES: Final[tuple[Quantity, ...]] = (
    # Electrical, load convention: consumption positive, generation negative.
    _gauge("active_power_kw", "kW", -_POWER, _POWER, "Active power"),
    _gauge("active_power_l1_kw", "kW", -_POWER, _POWER, "Active power L1"),
    _gauge("active_power_l2_kw", "kW", -_POWER, _POWER, "Active power L2"),
    _gauge("active_power_l3_kw", "kW", -_POWER, _POWER, "Active power L3"),
    _gauge("reactive_power_kvar", "kvar", -_POWER, _POWER, "Reactive power"),
    _gauge("apparent_power_kva", "kVA", -_POWER, _POWER, "Apparent power"),
    _gauge("power_factor", "1", -1.001, 1.001, "Power factor"),
    _gauge("frequency_hz", "Hz", 45.0, 65.0, "Frequency"),
    _gauge("voltage_l1_n_v", "V", 0.0, _VOLTAGE, "Voltage L1-N"),
    _gauge("voltage_l2_n_v", "V", 0.0, _VOLTAGE, "Voltage L2-N"),
    _gauge("voltage_l3_n_v", "V", 0.0, _VOLTAGE, "Voltage L3-N"),
    _gauge("voltage_l1_l2_v", "V", 0.0, _VOLTAGE, "Voltage L1-L2"),
    _gauge("voltage_l2_l3_v", "V", 0.0, _VOLTAGE, "Voltage L2-L3"),
    _gauge("voltage_l3_l1_v", "V", 0.0, _VOLTAGE, "Voltage L3-L1"),
    _gauge("current_l1_a", "A", -50_000.0, 50_000.0, "Current L1"),
    _gauge("current_l2_a", "A", -50_000.0, 50_000.0, "Current L2"),
    _gauge("current_l3_a", "A", -50_000.0, 50_000.0, "Current L3"),
    _gauge("current_n_a", "A", -50_000.0, 50_000.0, "Current N"),
    _gauge("voltage_thd_percent", "%", 0.0, 400.0, "Voltage distortion (THD)"),
    _gauge("current_thd_percent", "%", 0.0, 1000.0, "Current distortion (THD)"),
    _counter("energy_import_kwh", "kWh", "Active energy imported"),
    _counter("energy_export_kwh", "kWh", "Active energy exported"),
    _counter("reactive_energy_import_kvarh", "kvarh", "Reactive energy imported"),
    _counter("reactive_energy_export_kvarh", "kvarh", "Reactive energy exported"),
    _counter("apparent_energy_import_kvah", "kVAh", "Apparent energy imported"),
    # Machines.
    _gauge("run_state", "code", 0.0, 9.0, "Run state"),
    _gauge("capacity_percent", "%", 0.0, 200.0, "Capacity"),
    _counter("running_hours_h", "h", "Running hours", 1e7),
    _counter("loaded_hours_h", "h", "Loaded hours", 1e7),
    _counter("starts_count", "1", "Starts", 1e9),
    # Compressed air. Normal conditions (0 degC, 1.01325 bar) where the name says nm3.
    _gauge("discharge_pressure_bar", "bar", -1.0, 100.0, "Discharge pressure"),
    _gauge("sump_pressure_bar", "bar", -1.0, 100.0, "Sump pressure"),
    _gauge("separator_pressure_drop_bar", "bar", -1.0, 20.0, "Separator pressure drop"),
    _gauge("airend_temperature_c", "degC", -40.0, 250.0, "Airend discharge temperature"),
    _gauge("coolant_temperature_c", "degC", -40.0, 250.0, "Injected coolant temperature"),
    _gauge("aftercooler_temperature_c", "degC", -40.0, 250.0, "Aftercooler discharge temperature"),
    _gauge("air_flow_nm3h", "Nm3/h", -1e6, 1e6, "Compressed-air flow"),
    _counter("air_volume_nm3", "Nm3", "Compressed-air volume"),
    _gauge("line_pressure_bar", "bar", -1.0, 100.0, "Line pressure"),
    _gauge("dew_point_c", "degC", -100.0, 100.0, "Pressure dew point"),
    _gauge("flow_velocity_m_s", "m/s", -400.0, 400.0, "Flow velocity"),
    # Machines with a drive or a refrigerant circuit.
    _gauge("motor_current_a", "A", 0.0, 50_000.0, "Motor current"),
    _gauge("motor_speed_rpm", "1/min", 0.0, 100_000.0, "Motor speed"),
    _gauge("drive_frequency_hz", "Hz", 0.0, 1000.0, "Drive frequency"),
    _gauge("suction_pressure_bar", "bar", -1.0, 200.0, "Suction pressure"),
    _gauge("suction_temperature_c", "degC", -100.0, 250.0, "Suction temperature"),
    _gauge("discharge_temperature_c", "degC", -60.0, 250.0, "Discharge temperature"),
    _gauge("oil_pressure_bar", "bar", -1.0, 200.0, "Oil pressure"),
    _gauge("oil_temperature_c", "degC", -60.0, 250.0, "Oil temperature"),
    _gauge("evaporator_pressure_bar", "bar", -1.0, 200.0, "Evaporator pressure"),
    _gauge("condenser_pressure_bar", "bar", -1.0, 200.0, "Condenser pressure"),
    _gauge("alarm_code", "code", 0.0, 4294967295.0, "Alarm code of the device"),
    # Chilled water.
    _gauge("chilled_water_leaving_temperature_c", "degC", -60.0, 150.0, "Chilled water leaving"),
    _gauge("chilled_water_entering_temperature_c", "degC", -60.0, 150.0, "Chilled water entering"),
    _gauge("condenser_water_leaving_temperature_c", "degC", -60.0, 150.0, "Condenser water leaving"),
    _gauge("condenser_water_entering_temperature_c", "degC", -60.0, 150.0, "Condenser water entering"),
    _gauge("chilled_water_setpoint_c", "degC", -60.0, 150.0, "Chilled water set-point"),
    _gauge("evaporator_refrigerant_temperature_c", "degC", -80.0, 150.0, "Evaporator refrigerant temperature"),
    _gauge("condenser_refrigerant_temperature_c", "degC", -80.0, 150.0, "Condenser refrigerant temperature"),
    _gauge("water_flow_m3h", "m3/h", -1e5, 1e5, "Water flow"),
    _counter("water_volume_m3", "m3", "Water volume"),
    # Heat, cold and steam. Delivered heat and cold are counted apart; thermal power is positive for both.
    _gauge("thermal_power_kw", "kW", -_POWER, _POWER, "Thermal power"),
    _counter("heating_energy_kwh", "kWh", "Heat delivered"),
    _counter("cooling_energy_kwh", "kWh", "Cold delivered"),
    _gauge("supply_temperature_c", "degC", -60.0, 400.0, "Supply temperature"),
    _gauge("return_temperature_c", "degC", -60.0, 400.0, "Return temperature"),
    _gauge("steam_flow_kgh", "kg/h", -1e7, 1e7, "Steam flow"),
    _counter("steam_mass_kg", "kg", "Steam mass"),
    _gauge("steam_pressure_bar", "bar", -1.0, 400.0, "Steam pressure"),
    _gauge("steam_temperature_c", "degC", -20.0, 800.0, "Steam temperature"),
    # Gases of Scope 1: fuel by volume, process gas and refrigerant by mass (see docs/carbon.md).
    _counter("gas_volume_m3", "m3", "Gas volume"),
    _counter("gas_mass_kg", "kg", "Gas mass"),
    # Pulse inputs, in the unit that one count stands for (kWh, m3, ...).
    _counter("pulse_1_total", "1", "Pulse input 1"),
    _counter("pulse_2_total", "1", "Pulse input 2"),
    _counter("pulse_3_total", "1", "Pulse input 3"),
    _counter("pulse_4_total", "1", "Pulse input 4"),
    # Photovoltaics and weather.
    _gauge("dc_power_kw", "kW", -_POWER, _POWER, "DC power"),
    _gauge("dc_voltage_v", "V", -10.0, 3000.0, "DC voltage"),
    _gauge("dc_current_a", "A", -50_000.0, 50_000.0, "DC current"),
    _gauge("cabinet_temperature_c", "degC", -60.0, 150.0, "Cabinet temperature"),
    _gauge("irradiance_w_m2", "W/m2", -30.0, 2000.0, "Irradiance"),
    _gauge("irradiance_poa_w_m2", "W/m2", -30.0, 2000.0, "Irradiance in the plane of the array"),
    _gauge("wind_speed_m_s", "m/s", 0.0, 120.0, "Wind speed"),
    _gauge("wind_direction_deg", "deg", 0.0, 360.0, "Wind direction"),
    _counter("rain_mm", "mm", "Rain", 1e7),
    _gauge("air_pressure_hpa", "hPa", 300.0, 1200.0, "Air pressure"),
    _gauge("module_temperature_c", "degC", -60.0, 150.0, "Module temperature"),
    _gauge("ambient_temperature_c", "degC", -60.0, 80.0, "Ambient temperature"),
    _gauge("sensor_temperature_c", "degC", -60.0, 150.0, "Sensor body temperature"),
    _gauge("relative_humidity_percent", "%", 0.0, 100.0, "Relative humidity"),
    # Cleanroom.
    _gauge("room_temperature_c", "degC", -40.0, 80.0, "Room temperature"),
    _gauge("room_pressure_pa", "Pa", -1000.0, 1000.0, "Room over-pressure"),
    # Production.
    _counter("pieces_count", "1", "Pieces that went through"),
    _counter("good_pieces_count", "1", "Good pieces"),
    # Derived every minute from intervals; no device delivers them (see emsd.plant.derived).
    _gauge("residual_kw", "kW", -_POWER, _POWER, "Residual of the bus"),
    _gauge("residual_percent", "%", -1e6, 1e6, "Residual of the bus"),
    _gauge("counter_power_deviation_percent", "%", 0.0, 1000.0, "Deviation of counter from power"),
    _gauge("demand_kw", "kW", -_POWER, _POWER, "Demand of the settlement period"),
    _gauge("demand_forecast_kw", "kW", -_POWER, _POWER, "Forecast demand of the settlement period"),
    _gauge("demand_headroom_kw", "kW", -_POWER, _POWER, "Power left until the contract demand"),
    _gauge("demand_minutes_left", "min", 0.0, 1e6, "Time until the contract demand is used up"),
)

BY_NAME: Final = MappingProxyType({each.name: each for each in QUANTITIES})


def quantity(name: str) -> Quantity:
    """Return the quantity called `name`; raises KeyError when there is none."""
    return BY_NAME[name]


class RunState(StrEnum):
    """Canonical run states; every device's own codes are mapped to these by its profile."""

    OFF = "off"
    STARTING = "starting"
    RUNNING = "running"
    LOADED = "loaded"
    UNLOADED = "unloaded"
    STANDBY = "standby"
    THROTTLED = "throttled"
    STOPPING = "stopping"
    FAULT = "fault"
    SERVICE = "service"


RUN_STATE_CODES: Final = MappingProxyType({state: float(code) for code, state in enumerate(RunState)})
"""The number that `run_state` stores for each state: its place in RunState, counted from 0."""
