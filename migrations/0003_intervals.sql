-- Energy of one meter in one bucket. NULL energy: nothing is known of the bucket. coverage: share of the bucket's time
-- [0..1] that lies between samples no farther apart than the meter's max_gap_s. estimated_*: the part of the energy that
-- was spread over longer gaps. Each tier is built from the one below; interval_1d holds local days of the site.

CREATE TABLE interval_1m (
    bucket               timestamptz NOT NULL,
    meter_id             integer NOT NULL,
    energy_import_kwh    double precision,
    energy_export_kwh    double precision,
    estimated_import_kwh double precision NOT NULL DEFAULT 0,
    estimated_export_kwh double precision NOT NULL DEFAULT 0,
    power_min_kw         real,
    power_avg_kw         real,
    power_max_kw         real,
    coverage             real NOT NULL,
    sample_count         integer NOT NULL,
    flags                smallint NOT NULL DEFAULT 0,       -- emsd.energy.counters: rollover, reset, glitch, step, ...
    computed_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (meter_id, bucket)
);
SELECT create_hypertable('interval_1m', 'bucket', chunk_time_interval => INTERVAL '7 days', create_default_indexes => false);

CREATE TABLE interval_15m (
    bucket               timestamptz NOT NULL,
    meter_id             integer NOT NULL,
    energy_import_kwh    double precision,
    energy_export_kwh    double precision,
    estimated_import_kwh double precision NOT NULL DEFAULT 0,
    estimated_export_kwh double precision NOT NULL DEFAULT 0,
    power_min_kw         real,
    power_avg_kw         real,
    power_max_kw         real,
    coverage             real NOT NULL,
    sample_count         integer NOT NULL,
    flags                smallint NOT NULL DEFAULT 0,
    computed_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (meter_id, bucket)
);
SELECT create_hypertable('interval_15m', 'bucket', chunk_time_interval => INTERVAL '30 days', create_default_indexes => false);

CREATE TABLE interval_1d (
    day                  date NOT NULL,                     -- local day of the site
    meter_id             integer NOT NULL,
    bucket               timestamptz NOT NULL,              -- the instant at which that day began
    energy_import_kwh    double precision,
    energy_export_kwh    double precision,
    estimated_import_kwh double precision NOT NULL DEFAULT 0,
    estimated_export_kwh double precision NOT NULL DEFAULT 0,
    power_min_kw         real,
    power_avg_kw         real,
    power_max_kw         real,
    coverage             real NOT NULL,
    sample_count         integer NOT NULL,
    flags                smallint NOT NULL DEFAULT 0,
    computed_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (meter_id, day)
);

-- Local days whose row in interval_1d does not reflect interval_15m yet. Only accounting writes here.
CREATE TABLE dirty_day (
    meter_id   integer NOT NULL,
    day        date NOT NULL,
    PRIMARY KEY (meter_id, day)
);
