-- Meters that are computed: virtual ones are made of others' energy, derived ones carry what is computed of a meter every
-- minute (see emsd.plant.virtual_meters and emsd.plant.derived). A new column is NULL in every row that stands there
-- already.

ALTER TABLE reading
    ADD COLUMN residual_kw                     real,
    ADD COLUMN residual_percent                real,
    ADD COLUMN counter_power_deviation_percent real,
    ADD COLUMN demand_kw                       real,
    ADD COLUMN demand_forecast_kw              real,
    ADD COLUMN demand_headroom_kw              real,
    ADD COLUMN demand_minutes_left             real;

ALTER TABLE meter
    ADD COLUMN kind                  text NOT NULL DEFAULT 'device' CHECK (kind IN ('device', 'virtual', 'derived')),
    ADD COLUMN counts                boolean NOT NULL DEFAULT true,
    ADD COLUMN derived_from          integer REFERENCES meter ON UPDATE CASCADE,
    ADD COLUMN residual_kind         text CHECK (residual_kind IN ('losses', 'unmetered_load')),
    ADD COLUMN residual_low_percent  double precision,
    ADD COLUMN residual_high_percent double precision,
    ADD COLUMN residual_low_kw       double precision,
    ADD COLUMN residual_high_kw      double precision,
    ADD CONSTRAINT meter_derived_from CHECK ((kind = 'derived') = (derived_from IS NOT NULL));
COMMENT ON COLUMN meter.counts IS
    'false: its energy is that of other meters, so it is no part of sums over an area, a stage or the site';

CREATE TABLE virtual_meter (
    meter_id       integer PRIMARY KEY REFERENCES meter,
    expression     text NOT NULL,
    missing        text NOT NULL CHECK (missing IN ('unknown', 'partial')),
    -- Minutes before this instant are not computed by the present expression yet; NULL when all are.
    pending_before timestamptz
);
-- The expression multiplied out: the energy of the meter is the sum of factor x energy of input.
CREATE TABLE virtual_meter_input (
    meter_id       integer NOT NULL REFERENCES virtual_meter,
    input_meter_id integer NOT NULL REFERENCES meter,
    factor         double precision NOT NULL CHECK (factor <> 0),
    PRIMARY KEY (meter_id, input_meter_id)
);
GRANT SELECT ON virtual_meter, virtual_meter_input TO emsd_reader;
