-- Raw readings: one wide row per meter and instant, one nullable column per canonical quantity (see emsd.quantities).
-- Counters are double precision, gauges real. NULL is a value that is missing; quality says why (emsd.readings.Quality).
-- No index beyond the primary key: nothing would read it.

CREATE TABLE reading (
    time                                     timestamptz NOT NULL,
    meter_id                                 integer NOT NULL,
    quality                                  smallint NOT NULL DEFAULT 0,
    active_power_kw                          real,
    active_power_l1_kw                       real,
    active_power_l2_kw                       real,
    active_power_l3_kw                       real,
    reactive_power_kvar                      real,
    apparent_power_kva                       real,
    power_factor                             real,
    frequency_hz                             real,
    voltage_l1_n_v                           real,
    voltage_l2_n_v                           real,
    voltage_l3_n_v                           real,
    voltage_l1_l2_v                          real,
    voltage_l2_l3_v                          real,
    voltage_l3_l1_v                          real,
    current_l1_a                             real,
    current_l2_a                             real,
    current_l3_a                             real,
    current_n_a                              real,
    voltage_thd_percent                      real,
    current_thd_percent                      real,
    energy_import_kwh                        double precision,
    energy_export_kwh                        double precision,
    reactive_energy_import_kvarh             double precision,
    reactive_energy_export_kvarh             double precision,
    apparent_energy_import_kvah              double precision,
    run_state                                real,
    capacity_percent                         real,
    running_hours_h                          double precision,
    loaded_hours_h                           double precision,
    starts_count                             double precision,
    discharge_pressure_bar                   real,
    sump_pressure_bar                        real,
    separator_pressure_drop_bar              real,
    airend_temperature_c                     real,
    coolant_temperature_c                    real,
    aftercooler_temperature_c                real,
    air_flow_nm3h                            real,
    air_volume_nm3                           double precision,
    line_pressure_bar                        real,
    chilled_water_leaving_temperature_c      real,
    chilled_water_entering_temperature_c     real,
    condenser_water_leaving_temperature_c    real,
    condenser_water_entering_temperature_c   real,
    chilled_water_setpoint_c                 real,
    evaporator_refrigerant_temperature_c     real,
    condenser_refrigerant_temperature_c      real,
    water_flow_m3h                           real,
    dc_power_kw                              real,
    dc_voltage_v                             real,
    dc_current_a                             real,
    cabinet_temperature_c                    real,
    irradiance_w_m2                          real,
    module_temperature_c                     real,
    ambient_temperature_c                    real,
    sensor_temperature_c                     real,
    relative_humidity_percent                real,
    room_temperature_c                       real,
    room_pressure_pa                         real,
    extra                                    jsonb,
    PRIMARY KEY (meter_id, time)
);
SELECT create_hypertable('reading', 'time', chunk_time_interval => INTERVAL '1 day', create_default_indexes => false);

-- Which minutes have raw readings that the interval tables do not reflect yet. Appended in the transaction that stores
-- the readings, one row per batch and minute, so that ingest never waits for accounting; accounting deletes what it has
-- carried over, in the transaction that writes the intervals.
CREATE TABLE dirty_interval (
    mark_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bucket     timestamptz NOT NULL,
    meter_ids  integer[] NOT NULL
);

-- Messages and rows that can never become readings, kept with their reason.
CREATE TABLE quarantine (
    quarantine_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at   timestamptz NOT NULL,
    source        text NOT NULL,
    meter_id      integer,
    reason        text NOT NULL,
    payload       bytea NOT NULL
);

-- What the service could not keep, known exactly: which meter, how many readings, over which time.
CREATE TABLE reading_loss (
    loss_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id      integer NOT NULL,
    readings      bigint NOT NULL CHECK (readings > 0),
    first_time    timestamptz NOT NULL,
    last_time     timestamptz NOT NULL,
    reason        text NOT NULL,
    recorded_at   timestamptz NOT NULL DEFAULT now()
);

-- How well each meter was collected, minute by minute; counts are of that minute.
CREATE TABLE collector_health_1m (
    time            timestamptz NOT NULL,
    meter_id        integer NOT NULL,
    polls_expected  integer NOT NULL,
    polls_ok        integer NOT NULL,
    polls_partial   integer NOT NULL,
    polls_failed    integer NOT NULL,
    polls_skipped   integer NOT NULL,
    requests        integer NOT NULL,
    values_rejected integer NOT NULL,
    round_trip_s    real,
    state           text NOT NULL,
    last_error      text,
    PRIMARY KEY (meter_id, time)
);
SELECT create_hypertable('collector_health_1m', 'time', chunk_time_interval => INTERVAL '7 days', create_default_indexes => false);
