-- Key figures of equipment: where their inputs come from, their amounts by the quarter hour, and production.

-- Piece counters of tools and lines (see emsd.quantities).
ALTER TABLE reading
    ADD COLUMN pieces_count      double precision,
    ADD COLUMN good_pieces_count double precision;

-- Which quantities of which meters make an input of an asset; mirrors the configuration (see emsd.plant.kpi). Inputs
-- that are not `stored` stand in the interval tables of the meters named here.
CREATE TABLE kpi_source (
    asset_id integer NOT NULL REFERENCES asset,
    input    text NOT NULL,
    part     smallint NOT NULL,
    method   text NOT NULL,
    meter_id integer NOT NULL REFERENCES meter,
    quantity text NOT NULL,
    stored   boolean NOT NULL,
    PRIMARY KEY (asset_id, input, part)
);
CREATE INDEX kpi_source_meter ON kpi_source (meter_id) WHERE stored;

-- Inputs that cannot be made, with the reason; and what does not change of an asset: facts (peak power, floor area) and
-- references (ratings, targets) of its key figures.
CREATE TABLE kpi_gap (
    asset_id integer NOT NULL REFERENCES asset,
    input    text NOT NULL,
    reason   text NOT NULL,
    PRIMARY KEY (asset_id, input)
);
CREATE TABLE kpi_fact (
    asset_id integer NOT NULL REFERENCES asset,
    kind     text NOT NULL CHECK (kind IN ('fact', 'reference')),
    name     text NOT NULL,
    value    double precision NOT NULL,
    PRIMARY KEY (asset_id, kind, name)
);

-- Inputs of one asset in one quarter hour: the amount in the measured part of it, and that part's share 0..1. NULL: not
-- measured at all. Columns are those of emsd.energy.kpi.inputs.
CREATE TABLE asset_15m (
    bucket                             timestamptz NOT NULL,
    asset_id                           integer NOT NULL,
    cooling_kwh                        double precision,
    cooling_kwh_coverage               real,
    air_nm3                            double precision,
    air_nm3_coverage                   real,
    loaded_h                           double precision,
    loaded_h_coverage                  real,
    running_h                          double precision,
    running_h_coverage                 real,
    irradiation_kwh_m2                 double precision,
    irradiation_kwh_m2_coverage        real,
    irradiation_t25_kwh_m2             double precision,
    irradiation_t25_kwh_m2_coverage    real,
    reactive_kvarh                     double precision,
    reactive_kvarh_coverage            real,
    voltage_unbalance_percent          double precision,
    voltage_unbalance_percent_coverage real,
    pieces                             double precision,
    pieces_coverage                    real,
    good_pieces                        double precision,
    good_pieces_coverage               real,
    computed_at                        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (asset_id, bucket)
);
SELECT create_hypertable('asset_15m', 'bucket', chunk_time_interval => INTERVAL '30 days', create_default_indexes => false);

-- Quarter hours of assets whose row in asset_15m does not reflect the readings yet. `version` grows with every mark, so
-- that whoever has computed a quarter hour deletes exactly the mark that it saw.
CREATE TABLE dirty_asset_quarter (
    asset_id integer NOT NULL,
    bucket   timestamptz NOT NULL,
    version  bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (asset_id, bucket)
);

-- Accounting deletes the marks of minutes that it has carried over to the intervals. In the same transaction they become
-- marks of the assets that these readings concern, so that late readings, replays and meter events reach the inputs of
-- key figures too. A reading counts as far as the longest gap to its neighbours may be, and a counter is judged by eight
-- readings more (emsd.energy.counters), so quarter hours within that reach are marked. In order of the key: two
-- transactions that mark and unmark never wait for each other in a circle.
CREATE FUNCTION mark_asset_quarters() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO dirty_asset_quarter AS mark (asset_id, bucket)
    SELECT DISTINCT touched.asset_id, quarter
    FROM (
        SELECT DISTINCT source.asset_id, done.bucket,
               make_interval(secs => meter.max_gap_s + 8 * meter.poll_interval_s) AS reach
        FROM done CROSS JOIN LATERAL unnest(done.meter_ids) AS touched_id
        JOIN kpi_source AS source ON source.meter_id = touched_id AND source.stored
        JOIN meter ON meter.meter_id = touched_id
    ) AS touched
    CROSS JOIN LATERAL generate_series(
        time_bucket('15 minutes', touched.bucket - touched.reach),
        time_bucket('15 minutes', touched.bucket + interval '1 minute' + touched.reach),
        interval '15 minutes') AS quarter
    ORDER BY 1, 2
    ON CONFLICT (asset_id, bucket) DO UPDATE SET version = mark.version + 1;
    RETURN NULL;
END
$$;
CREATE TRIGGER mark_asset_quarters AFTER DELETE ON dirty_interval
    REFERENCING OLD TABLE AS done FOR EACH STATEMENT EXECUTE FUNCTION mark_asset_quarters();

-- Products mirror the configuration; `passes` is stage -> mask passes of one unit.
CREATE TABLE product (
    product_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id    integer NOT NULL REFERENCES site,
    key        text NOT NULL,
    name       text NOT NULL,
    area_m2    double precision NOT NULL CHECK (area_m2 > 0),
    passes     jsonb NOT NULL,
    place      integer NOT NULL,                            -- in the configuration
    removed_at timestamptz,
    UNIQUE (site_id, key)
);
-- How shared areas are spread over the stages, when production rests, and whose piece counters count which product; as
-- the configuration says it.
CREATE TABLE site_production (
    site_id    integer PRIMARY KEY REFERENCES site,
    allocation jsonb NOT NULL,
    idle_times jsonb NOT NULL,
    counters   jsonb NOT NULL DEFAULT '[]'
);

-- Counts of production. Only ever appended to: a correction is a new version of the same external_id, the highest of
-- which counts; one that is withdrawn counts for nothing. NULL stage: the whole line.
CREATE TABLE production_count (
    count_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id        integer NOT NULL REFERENCES site,
    external_id    text NOT NULL,
    version        integer NOT NULL,
    product_id     integer NOT NULL REFERENCES product,
    stage          text,
    from_time      timestamptz NOT NULL,
    to_time        timestamptz NOT NULL,
    units          double precision NOT NULL CHECK (units >= 0),            -- that went through, scrap included
    good_units     double precision CHECK (good_units BETWEEN 0 AND units), -- NULL: not known at this place
    withdrawn      boolean NOT NULL DEFAULT false,
    author         text NOT NULL,
    note           text NOT NULL DEFAULT '',
    recorded_at    timestamptz NOT NULL DEFAULT now(),
    CHECK (to_time > from_time),
    UNIQUE (site_id, external_id, version)
);
CREATE INDEX production_count_time ON production_count (site_id, to_time);

-- The counts that hold now.
CREATE VIEW production_current AS
SELECT DISTINCT ON (site_id, external_id)
    count_id, site_id, external_id, version, product_id, stage, from_time, to_time, units, good_units, withdrawn,
    author, note, recorded_at
FROM production_count
ORDER BY site_id, external_id, version DESC;

-- The ledger of counts is closed to change, whoever asks.
CREATE FUNCTION refuse_change_of_production() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'production_count is only appended to; send a correction with the same external_id';
END
$$;
CREATE TRIGGER production_count_is_final BEFORE UPDATE OR DELETE OR TRUNCATE ON production_count
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_production();

GRANT SELECT ON kpi_source, kpi_gap, kpi_fact, asset_15m, product, site_production, production_count,
    production_current TO emsd_reader;
