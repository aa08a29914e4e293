-- The carbon ledger: hourly factors, certificates and contracts, activities of Scope 1, statements. What was entered is
-- never changed: a correction is a new version, a reversal or a restatement, and the database refuses everything else.

CREATE FUNCTION carbon_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only appended to: % is refused', TG_TABLE_NAME, TG_OP;
END
$$;

-- residual: the grid's mix without what others have claimed; it applies to use that no instrument covers.
ALTER TABLE carbon_factor DROP CONSTRAINT carbon_factor_method_check;
ALTER TABLE carbon_factor ADD CONSTRAINT carbon_factor_method_check
    CHECK (method IN ('location', 'market', 'residual'));

-- How a site's ledger is made; a mirror of the plant's section carbon.
CREATE TABLE carbon_settings (
    site_id         integer PRIMARY KEY REFERENCES site,
    gwp_set         text NOT NULL CHECK (gwp_set IN ('AR4', 'AR5', 'AR6')),
    matching        text NOT NULL CHECK (matching IN ('yearly', 'hourly')),
    residual_region text                                    -- NULL: the site's carbon region
);

-- A file of factors by the hour (or the quarter). Of several imports that know an hour the highest version counts.
CREATE TABLE carbon_factor_import (
    import_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    region      text NOT NULL,
    method      text NOT NULL CHECK (method IN ('location', 'market', 'residual')),
    version     integer NOT NULL,
    file_name   text NOT NULL,
    file_sha256 text NOT NULL,
    author      text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (region, method, version)
);
CREATE TABLE carbon_factor_hour (
    import_id  bigint NOT NULL REFERENCES carbon_factor_import,
    begins_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,
    kg_per_kwh numeric NOT NULL CHECK (kg_per_kwh >= 0),
    source     text NOT NULL,
    PRIMARY KEY (import_id, begins_at),
    CHECK (ends_at > begins_at)
);

-- Certificates and contracts: what they stand for. What is done with them stands in carbon_instrument_event.
CREATE TABLE carbon_instrument (
    instrument_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id       integer NOT NULL REFERENCES site,
    registry      text NOT NULL,
    serial        text NOT NULL,
    kind          text NOT NULL,
    level         text NOT NULL CHECK (level IN ('certificate', 'contract')),
    own_pv        boolean NOT NULL,                         -- issued for the site's own PV
    energy_source text NOT NULL,
    energy_mwh    numeric NOT NULL CHECK (energy_mwh > 0),
    kg_per_kwh    numeric NOT NULL CHECK (kg_per_kwh >= 0),
    produced_from timestamptz NOT NULL,
    produced_to   timestamptz NOT NULL,
    valid_to      timestamptz NOT NULL,
    document      text NOT NULL,
    author        text NOT NULL,
    note          text NOT NULL,
    recorded_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (registry, serial),
    CHECK (produced_to > produced_from),
    CHECK (kind NOT IN ('gec', 'i_rec', 'go', 'rec') OR energy_mwh = trunc(energy_mwh))  -- one certificate is 1 MWh
);

CREATE TABLE carbon_instrument_event (
    event_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instrument_id bigint NOT NULL REFERENCES carbon_instrument,
    kind          text NOT NULL CHECK (kind IN ('retire', 'sell', 'cancel', 'reverse')),
    energy_mwh    numeric NOT NULL CHECK (energy_mwh > 0),
    period_from   timestamptz,                              -- of the use that it was retired for
    period_to     timestamptz,
    happened_at   timestamptz NOT NULL,
    reverses      bigint UNIQUE REFERENCES carbon_instrument_event,
    document      text NOT NULL,
    author        text NOT NULL,
    note          text NOT NULL,
    recorded_at   timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind = 'retire') = (period_from IS NOT NULL) AND (kind = 'retire') = (period_to IS NOT NULL)),
    CHECK (period_to > period_from),
    CHECK ((kind = 'reverse') = (reverses IS NOT NULL))
);
CREATE INDEX carbon_instrument_event_instrument ON carbon_instrument_event (instrument_id);

-- No megawatt-hour is used twice: what is retired, sold and cancelled is at most what there is. The lock on the
-- instrument makes two who try at once take turns.
CREATE FUNCTION carbon_instrument_event_check() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    instrument carbon_instrument;
    reversed   carbon_instrument_event;
    used_mwh   numeric;
BEGIN
    SELECT * INTO STRICT instrument FROM carbon_instrument WHERE instrument_id = NEW.instrument_id FOR UPDATE;
    IF NEW.kind = 'reverse' THEN
        SELECT * INTO reversed FROM carbon_instrument_event WHERE event_id = NEW.reverses;
        IF reversed.instrument_id <> NEW.instrument_id OR reversed.kind = 'reverse'
            OR reversed.energy_mwh <> NEW.energy_mwh THEN
            RAISE EXCEPTION 'event % cannot be reversed so', NEW.reverses;
        END IF;
        RETURN NEW;
    END IF;
    SELECT coalesce(sum(energy_mwh), 0) INTO used_mwh FROM carbon_instrument_event AS event
    WHERE instrument_id = NEW.instrument_id AND kind <> 'reverse'
        AND NOT EXISTS (SELECT FROM carbon_instrument_event WHERE reverses = event.event_id);
    IF used_mwh + NEW.energy_mwh > instrument.energy_mwh THEN
        RAISE EXCEPTION '% % has % MWh left of %, not %', instrument.kind, instrument.serial,
            instrument.energy_mwh - used_mwh, instrument.energy_mwh, NEW.energy_mwh;
    END IF;
    IF NEW.kind = 'retire' AND NEW.happened_at >= instrument.valid_to THEN
        RAISE EXCEPTION '% % was valid until %', instrument.kind, instrument.serial, instrument.valid_to;
    END IF;
    IF NEW.kind = 'retire' AND NEW.period_to <= instrument.produced_from THEN
        RAISE EXCEPTION '% % was produced from % on, after the use that it is to cover', instrument.kind,
            instrument.serial, instrument.produced_from;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER carbon_instrument_event_check BEFORE INSERT ON carbon_instrument_event
    FOR EACH ROW EXECUTE FUNCTION carbon_instrument_event_check();

CREATE VIEW carbon_instrument_stock AS
SELECT instrument.*, coalesce(used.retired_mwh, 0) AS retired_mwh, coalesce(used.sold_mwh, 0) AS sold_mwh,
       coalesce(used.cancelled_mwh, 0) AS cancelled_mwh, energy_mwh - coalesce(used.used_mwh, 0) AS left_mwh
FROM carbon_instrument AS instrument
LEFT JOIN LATERAL (
    SELECT sum(event.energy_mwh) AS used_mwh,
           sum(event.energy_mwh) FILTER (WHERE event.kind = 'retire') AS retired_mwh,
           sum(event.energy_mwh) FILTER (WHERE event.kind = 'sell') AS sold_mwh,
           sum(event.energy_mwh) FILTER (WHERE event.kind = 'cancel') AS cancelled_mwh
    FROM carbon_instrument_event AS event
    WHERE event.instrument_id = instrument.instrument_id AND event.kind <> 'reverse'
        AND NOT EXISTS (SELECT FROM carbon_instrument_event WHERE reverses = event.event_id)
) AS used ON true;

-- Fuels, process gases and losses. A later version of a reference replaces the earlier one, which stays. kg_*: emissions
-- as computed when it was entered, by each set of global warming potentials.
CREATE TABLE carbon_activity (
    activity_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id            integer NOT NULL REFERENCES site,
    reference          text NOT NULL,
    version            integer NOT NULL CHECK (version > 0),
    kind               text NOT NULL CHECK (kind IN ('fuel', 'process_gas', 'release')),
    substance          text NOT NULL,
    process            text,
    period_from        timestamptz NOT NULL,
    period_to          timestamptz NOT NULL,
    area_id            integer REFERENCES area,
    asset_id           integer REFERENCES asset,
    amount             numeric NOT NULL CHECK (amount >= 0),
    unit               text NOT NULL,
    heel               numeric CHECK (heel BETWEEN 0 AND 1),
    utilization        numeric CHECK (utilization BETWEEN 0 AND 1),
    abated_share       numeric CHECK (abated_share BETWEEN 0 AND 1),
    destruction        numeric CHECK (destruction BETWEEN 0 AND 1),
    factor_kg_per_unit numeric CHECK (factor_kg_per_unit >= 0),
    factor_source      text,
    document           text NOT NULL,
    author             text NOT NULL,
    note               text NOT NULL,
    is_void            boolean NOT NULL,
    kg_ar4             numeric NOT NULL,
    kg_ar5             numeric NOT NULL,
    kg_ar6             numeric NOT NULL,
    recorded_at        timestamptz NOT NULL DEFAULT now(),
    UNIQUE (site_id, reference, version),
    CHECK (period_to > period_from),
    CHECK ((factor_kg_per_unit IS NULL) = (factor_source IS NULL))
);

-- Statements: frozen, signed, each holding the digest of the one before it. The document is canonical JSON. Numbers have
-- no gaps, so that nobody needs to ask for the missing one.
CREATE TABLE carbon_statement (
    statement_id    bigint PRIMARY KEY,
    site_id         integer NOT NULL REFERENCES site,
    period_from     timestamptz NOT NULL,
    period_to       timestamptz NOT NULL,
    document        text NOT NULL,
    sha256          text NOT NULL UNIQUE,
    previous_sha256 text UNIQUE REFERENCES carbon_statement (sha256),
    signature       bytea NOT NULL,
    public_key      text NOT NULL,
    author          text NOT NULL,
    created_at      timestamptz NOT NULL,
    restates        bigint UNIQUE REFERENCES carbon_statement,
    reason          text,
    CHECK (period_to > period_from),
    CHECK ((restates IS NULL) = (reason IS NULL)),
    CONSTRAINT carbon_statement_digest CHECK (sha256 = encode(sha256(convert_to(document, 'UTF8')), 'hex'))
);
CREATE UNIQUE INDEX carbon_statement_once ON carbon_statement (site_id, period_from, period_to) WHERE restates IS NULL;

CREATE FUNCTION carbon_statement_check() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last_sha256 text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('carbon_statement'));
    SELECT coalesce(max(statement_id), 0) + 1 INTO NEW.statement_id FROM carbon_statement;
    SELECT sha256 INTO last_sha256 FROM carbon_statement WHERE site_id = NEW.site_id
    ORDER BY statement_id DESC LIMIT 1;
    IF NEW.previous_sha256 IS DISTINCT FROM last_sha256 THEN
        RAISE EXCEPTION 'another statement was made meanwhile; make this one again';
    END IF;
    IF NEW.restates IS NOT NULL AND NOT EXISTS (
        SELECT FROM carbon_statement WHERE statement_id = NEW.restates AND site_id = NEW.site_id
            AND period_from = NEW.period_from AND period_to = NEW.period_to) THEN
        RAISE EXCEPTION 'statement % is not of the same site and period', NEW.restates;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER carbon_statement_check BEFORE INSERT ON carbon_statement
    FOR EACH ROW EXECUTE FUNCTION carbon_statement_check();

-- The ledger of each month, computed anew from time to time; Grafana reads it. What is reported is a statement.
CREATE TABLE carbon_month (
    site_id            integer NOT NULL REFERENCES site,
    month              date NOT NULL,
    begins_at          timestamptz NOT NULL,
    ends_at            timestamptz NOT NULL,
    grid_import_kwh    double precision,
    pv_used_kwh        double precision,
    load_kwh           double precision,
    coverage           double precision,
    estimated_share    double precision,
    scope1_kg          double precision,
    location_kg        double precision,
    location_coverage  double precision,
    market_kg          double precision,
    certificate_kwh    double precision NOT NULL,
    contract_kwh       double precision NOT NULL,
    avoided_kg         double precision,
    self_consumption   double precision,
    self_sufficiency   double precision,
    renewable_coverage double precision,
    missing            text[] NOT NULL,
    computed_at        timestamptz NOT NULL,
    PRIMARY KEY (site_id, month)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['carbon_factor_import', 'carbon_factor_hour', 'carbon_instrument',
        'carbon_instrument_event', 'carbon_activity', 'carbon_statement'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE ON %I FOR EACH ROW '
            'EXECUTE FUNCTION carbon_append_only()', name || '_append_only', name);
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
            'EXECUTE FUNCTION carbon_append_only()', name || '_no_truncate', name);
    END LOOP;
END
$$;

GRANT SELECT ON carbon_settings, carbon_factor_import, carbon_factor_hour, carbon_instrument, carbon_instrument_event,
    carbon_instrument_stock, carbon_activity, carbon_statement, carbon_month TO emsd_reader;
