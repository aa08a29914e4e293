-- Quantities of further device families (see emsd.quantities): heat, cold and steam meters, pulse counters, drives and
-- refrigerant circuits, weather stations. A new column is NULL in every row that stands there already.

ALTER TABLE reading
    ADD COLUMN dew_point_c                  real,
    ADD COLUMN flow_velocity_m_s            real,
    ADD COLUMN motor_current_a              real,
    ADD COLUMN motor_speed_rpm              real,
    ADD COLUMN drive_frequency_hz           real,
    ADD COLUMN suction_pressure_bar         real,
    ADD COLUMN suction_temperature_c        real,
    ADD COLUMN discharge_temperature_c      real,
    ADD COLUMN oil_pressure_bar             real,
    ADD COLUMN oil_temperature_c            real,
    ADD COLUMN evaporator_pressure_bar      real,
    ADD COLUMN condenser_pressure_bar       real,
    ADD COLUMN alarm_code                   real,
    ADD COLUMN water_volume_m3              double precision,
    ADD COLUMN thermal_power_kw             real,
    ADD COLUMN heating_energy_kwh           double precision,
    ADD COLUMN cooling_energy_kwh           double precision,
    ADD COLUMN supply_temperature_c         real,
    ADD COLUMN return_temperature_c         real,
    ADD COLUMN steam_flow_kgh               real,
    ADD COLUMN steam_mass_kg                double precision,
    ADD COLUMN steam_pressure_bar           real,
    ADD COLUMN steam_temperature_c          real,
    ADD COLUMN pulse_1_total                double precision,
    ADD COLUMN pulse_2_total                double precision,
    ADD COLUMN pulse_3_total                double precision,
    ADD COLUMN pulse_4_total                double precision,
    ADD COLUMN irradiance_poa_w_m2          real,
    ADD COLUMN wind_speed_m_s               real,
    ADD COLUMN wind_direction_deg           real,
    ADD COLUMN rain_mm                      double precision,
    ADD COLUMN air_pressure_hpa             real;

-- Who answers behind each meter: what its device says of itself, as last seen. A device that says otherwise is a swap,
-- and goes into meter_event in the transaction that changes the row here.
CREATE TABLE meter_identity (
    meter_id   integer PRIMARY KEY REFERENCES meter,
    serial     text,
    model      text,
    firmware   text,
    first_seen timestamptz NOT NULL,                        -- of this device
    last_seen  timestamptz NOT NULL
);
GRANT SELECT ON meter_identity TO emsd_reader;
