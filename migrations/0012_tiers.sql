-- Process gauges in quarter hours and local days, the version of the rules behind every interval, what is to be computed
-- anew, and what retention has taken away.

-- The vocabulary (emsd.quantities) by number, for narrow tables. Accounting adds what is new; numbers are never reused.
CREATE TABLE quantity (
    quantity_id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    unit        text NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('gauge', 'counter'))
);

-- Extremes and mean of what a gauge showed, from its raw readings. A bucket without any reading of it has no row.
CREATE TABLE gauge_15m (
    bucket       timestamptz NOT NULL,
    meter_id     integer NOT NULL,
    min_value    real NOT NULL,
    avg_value    real NOT NULL,
    max_value    real NOT NULL,
    sample_count integer NOT NULL,
    quantity_id  smallint NOT NULL,
    PRIMARY KEY (meter_id, quantity_id, bucket)
);
SELECT create_hypertable('gauge_15m', 'bucket', chunk_time_interval => INTERVAL '30 days', create_default_indexes => false);

CREATE TABLE gauge_1d (
    bucket       timestamptz NOT NULL,                      -- the instant at which the day began
    day          date NOT NULL,                             -- local day of the site
    meter_id     integer NOT NULL,
    min_value    real NOT NULL,
    avg_value    real NOT NULL,
    max_value    real NOT NULL,
    sample_count integer NOT NULL,
    quantity_id  smallint NOT NULL,
    PRIMARY KEY (meter_id, quantity_id, day)
);

-- Quarter hours, and local days, whose rows do not reflect what lies below them yet. Only accounting writes here.
CREATE TABLE dirty_gauge (
    bucket   timestamptz NOT NULL,
    meter_id integer NOT NULL,
    PRIMARY KEY (bucket, meter_id)
);
CREATE TABLE dirty_gauge_day (
    meter_id integer NOT NULL,
    day      date NOT NULL,
    PRIMARY KEY (meter_id, day)
);

-- By which rules a meter's readings become energy, each time they changed. Rows of interval_* name the one that made
-- them; a row made of several names the oldest. NULL there: made before versions were recorded, or not from readings.
CREATE TABLE accounting_version (
    version_id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id     integer NOT NULL,
    code_version integer NOT NULL,                          -- of the arithmetic itself
    fingerprint  text NOT NULL,                             -- of code version and rules
    rules        jsonb NOT NULL,
    since        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX accounting_version_meter ON accounting_version (meter_id, version_id);
ALTER TABLE interval_1m ADD COLUMN version integer;
ALTER TABLE interval_15m ADD COLUMN version integer;
ALTER TABLE interval_1d ADD COLUMN version integer;

-- What is to be computed anew, in pieces; accounting deletes a piece in the transaction that has done it.
CREATE TABLE recomputation (
    recomputation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,   -- pieces are done in this order
    request          uuid NOT NULL,
    from_time        timestamptz NOT NULL,
    to_time          timestamptz NOT NULL,
    meter_ids        integer[],                             -- NULL: all
    intervals        boolean NOT NULL,
    gauges           boolean NOT NULL,
    requested_at     timestamptz NOT NULL DEFAULT now(),
    requested_by     text NOT NULL,
    CHECK (to_time > from_time)
);
CREATE INDEX recomputation_request ON recomputation (request);

-- Readings that are there already have no gauge tiers yet: they are built in the background, the newest first.
INSERT INTO recomputation (request, from_time, to_time, intervals, gauges, requested_by)
SELECT '00000000-0000-0000-0000-000000000012', range_start, range_end, false, true, 'migration 0012'
FROM timescaledb_information.chunks WHERE hypertable_schema = current_schema AND hypertable_name = 'reading'
ORDER BY range_start DESC;

-- When the accounting of this database last made a pass, and who made it.
CREATE TABLE accounting_state (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    last_pass_at timestamptz NOT NULL,
    led_by       text NOT NULL
);

-- What lies before kept_from has been dropped by retention, and what was made of it is not computed again.
CREATE TABLE retention_horizon (
    tier       text PRIMARY KEY CHECK (tier IN ('raw', '1m', '15m')),
    kept_from  timestamptz NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- The last samples of each meter before the horizon of the raw readings: what follows is computed as if all were there.
CREATE TABLE reading_tail (
    meter_id          integer NOT NULL,
    time              timestamptz NOT NULL,
    energy_import_kwh double precision,
    energy_export_kwh double precision,
    active_power_kw   real,
    PRIMARY KEY (meter_id, time)
);

-- A recomputation takes all meters of some hours, which lie side by side on disk; a block range index is a few pages.
CREATE INDEX reading_time_brin ON reading USING brin (time) WITH (pages_per_range = 64);

GRANT SELECT ON quantity, gauge_15m, gauge_1d, accounting_version, recomputation, accounting_state, retention_horizon
    TO emsd_reader;
