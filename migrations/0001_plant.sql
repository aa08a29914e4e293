-- Mirrors of the plant configuration. Rows are never deleted and ids never reused: history keeps its meaning after an
-- entry has left the configuration (removed_at says when).

CREATE EXTENSION IF NOT EXISTS timescaledb;

CREATE TABLE site (
    site_id            integer PRIMARY KEY,                 -- the site's number in the fleet
    name               text NOT NULL,
    time_zone          text NOT NULL,
    contract_demand_kw double precision,
    carbon_region      text NOT NULL,
    latitude           double precision,
    longitude          double precision
);

CREATE TABLE area (
    area_id        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id        integer NOT NULL REFERENCES site,
    key            text NOT NULL,
    name           text NOT NULL,
    parent_area_id integer REFERENCES area,
    stage          text,                                    -- its own, or inherited from the area above
    floor_area_m2  double precision,
    removed_at     timestamptz,
    UNIQUE (site_id, key)
);

CREATE TABLE asset (
    asset_id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id        integer NOT NULL REFERENCES site,
    area_id        integer NOT NULL REFERENCES area,
    key            text NOT NULL,
    name           text NOT NULL,
    kind           text NOT NULL,
    rated_power_kw double precision,
    removed_at     timestamptz,
    UNIQUE (site_id, key)
);

CREATE TABLE meter (
    meter_id        integer PRIMARY KEY,                    -- site number x 1,000,000 + serial, unique across a fleet
    site_id         integer NOT NULL REFERENCES site,
    asset_id        integer NOT NULL REFERENCES asset,
    key             text NOT NULL,
    name            text NOT NULL,
    profile         text NOT NULL,
    connection      text NOT NULL,
    address         text NOT NULL,                          -- unit id or topic, for people
    parent_meter_id integer REFERENCES meter,
    measures_energy boolean NOT NULL,
    poll_interval_s double precision NOT NULL,
    rated_power_kw  double precision,
    max_gap_s       double precision NOT NULL,
    removed_at      timestamptz,
    UNIQUE (site_id, key)
);

-- The audit ledger of what happened to a meter: swaps, resets, changed CT ratios. Only ever appended to.
CREATE TABLE meter_event (
    event_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id      integer NOT NULL REFERENCES meter,
    occurred_at   timestamptz NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('swap', 'reset', 'ct_ratio', 'manual_reading')),
    detail        jsonb NOT NULL DEFAULT '{}',
    author        text NOT NULL,
    note          text NOT NULL DEFAULT '',
    recorded_at   timestamptz NOT NULL DEFAULT now()
);

-- Emission factors of grid electricity. A revision is a new version; what was reported keeps the version it used.
CREATE TABLE carbon_factor (
    factor_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    region     text NOT NULL,
    method     text NOT NULL CHECK (method IN ('location', 'market')),
    valid_from timestamptz NOT NULL,
    valid_to   timestamptz,
    kg_per_kwh double precision NOT NULL CHECK (kg_per_kwh >= 0),
    source     text NOT NULL,
    version    integer NOT NULL DEFAULT 1,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    withdrawn_at timestamptz,                               -- when it left the configuration; it then counts for nothing
    CHECK (valid_to IS NULL OR valid_to > valid_from),
    UNIQUE (region, method, valid_from, version)
);

-- Tokens for whoever may write through the API; only a digest is kept.
CREATE TABLE api_token (
    token_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    sha256     bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
