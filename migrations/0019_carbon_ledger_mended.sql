-- The carbon ledger: which meters counted when, ranges of serial numbers, entries made by mistake, gas counters.

-- Counters of fuel gas and of process gas (see emsd.quantities); NULL in every row that stands there already.
ALTER TABLE reading
    ADD COLUMN gas_volume_m3 double precision,
    ADD COLUMN gas_mass_kg   double precision;

-- Which meters speak for a site, and when they did: the plant is described as it is now, a year is stated as it was.
CREATE TABLE carbon_meter (
    site_id     integer NOT NULL REFERENCES site,
    meter_id    integer NOT NULL REFERENCES meter,
    role        text NOT NULL CHECK (role IN ('grid', 'generation')),
    counts_from timestamptz,                                -- NULL: for whatever it has intervals of
    counts_to   timestamptz,                                -- NULL: it still counts
    CHECK (counts_to > counts_from)
);
CREATE UNIQUE INDEX carbon_meter_now ON carbon_meter (site_id, meter_id, role) WHERE counts_to IS NULL;
GRANT SELECT ON carbon_meter TO emsd_reader;

-- A list of factors that should not have been imported; its hours count for nothing from then on.
CREATE TABLE carbon_factor_withdrawal (
    import_id   bigint PRIMARY KEY REFERENCES carbon_factor_import,
    author      text NOT NULL,
    note        text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER carbon_factor_withdrawal_append_only BEFORE UPDATE OR DELETE ON carbon_factor_withdrawal
    FOR EACH ROW EXECUTE FUNCTION carbon_append_only();
CREATE TRIGGER carbon_factor_withdrawal_no_truncate BEFORE TRUNCATE ON carbon_factor_withdrawal
    FOR EACH STATEMENT EXECUTE FUNCTION carbon_append_only();
GRANT SELECT ON carbon_factor_withdrawal TO emsd_reader;

-- A batch is known by its first and its last serial number. They are compared by what is before and after the last
-- number in them, and by that number: GEC-0100 to GEC-0599 holds GEC-250.
ALTER TABLE carbon_instrument
    ADD COLUMN last_serial  text,
    ADD COLUMN series       text,
    ADD COLUMN first_number numeric,
    ADD COLUMN last_number  numeric,
    DROP CONSTRAINT carbon_instrument_registry_serial_key;
ALTER TABLE carbon_instrument DISABLE TRIGGER USER;
UPDATE carbon_instrument SET
    series = lower(regexp_replace(serial, '\d+(\D*)$', ' \1')),
    first_number = (regexp_match(serial, '(\d+)\D*$'))[1]::numeric,
    last_number = (regexp_match(serial, '(\d+)\D*$'))[1]::numeric;
ALTER TABLE carbon_instrument ENABLE TRIGGER USER;
CREATE INDEX carbon_instrument_series ON carbon_instrument (lower(registry), series);

-- void: the certificate was entered by mistake; nothing of it may have been used, and its serials are free again.
ALTER TABLE carbon_instrument_event
    DROP CONSTRAINT carbon_instrument_event_kind_check,
    ADD CONSTRAINT carbon_instrument_event_kind_check CHECK (kind IN ('retire', 'sell', 'cancel', 'reverse', 'void'));

CREATE FUNCTION carbon_instrument_check() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    other carbon_instrument;
BEGIN
    NEW.series := lower(regexp_replace(NEW.serial, '\d+(\D*)$', ' \1'));
    NEW.first_number := (regexp_match(NEW.serial, '(\d+)\D*$'))[1]::numeric;
    NEW.last_number := NEW.first_number;
    IF NEW.last_serial IS NOT NULL THEN
        NEW.last_number := (regexp_match(NEW.last_serial, '(\d+)\D*$'))[1]::numeric;
        IF NEW.series <> lower(regexp_replace(NEW.last_serial, '\d+(\D*)$', ' \1'))
            OR NOT coalesce(NEW.last_number >= NEW.first_number, false) THEN
            RAISE EXCEPTION '% to % is no range; write the first and the last serial of one series, such as GEC-0100'
                ' and GEC-0599', NEW.serial, NEW.last_serial;
        END IF;
        IF NEW.kind IN ('gec', 'i_rec', 'go', 'rec') AND NEW.last_number - NEW.first_number + 1 <> NEW.energy_mwh THEN
            RAISE EXCEPTION '% to % are % certificates of 1 MWh each, not % MWh', NEW.serial, NEW.last_serial,
                NEW.last_number - NEW.first_number + 1, trim_scale(NEW.energy_mwh);
        END IF;
    END IF;
    -- Two who enter at once take turns.
    PERFORM pg_advisory_xact_lock(hashtext('carbon_instrument'), hashtext(lower(NEW.registry)));
    SELECT * INTO other FROM carbon_instrument AS known
    WHERE lower(registry) = lower(NEW.registry) AND series = NEW.series
        AND (NEW.first_number IS NULL OR (first_number <= NEW.last_number AND last_number >= NEW.first_number))
        AND NOT EXISTS (SELECT FROM carbon_instrument_event AS event
            WHERE event.instrument_id = known.instrument_id AND event.kind = 'void')
    ORDER BY instrument_id LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% % is in the ledger already, as number % of site % (%); a certificate counts once',
            NEW.registry, concat_ws(' to ', NEW.serial, NEW.last_serial), other.instrument_id, other.site_id,
            concat_ws(' to ', other.serial, other.last_serial);
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER carbon_instrument_check BEFORE INSERT ON carbon_instrument
    FOR EACH ROW EXECUTE FUNCTION carbon_instrument_check();

CREATE OR REPLACE FUNCTION carbon_instrument_event_check() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    instrument carbon_instrument;
    reversed   carbon_instrument_event;
    used_mwh   numeric;
BEGIN
    SELECT * INTO STRICT instrument FROM carbon_instrument WHERE instrument_id = NEW.instrument_id FOR UPDATE;
    IF NEW.kind = 'reverse' THEN
        SELECT * INTO reversed FROM carbon_instrument_event WHERE event_id = NEW.reverses;
        IF reversed.instrument_id <> NEW.instrument_id OR reversed.kind IN ('reverse', 'void')
            OR reversed.energy_mwh <> NEW.energy_mwh THEN
            RAISE EXCEPTION 'event % cannot be reversed so', NEW.reverses;
        END IF;
        RETURN NEW;
    END IF;
    SELECT coalesce(sum(energy_mwh), 0) INTO used_mwh FROM carbon_instrument_event AS event
    WHERE instrument_id = NEW.instrument_id AND kind <> 'reverse'
        AND NOT EXISTS (SELECT FROM carbon_instrument_event WHERE reverses = event.event_id);
    IF NEW.kind = 'void' AND (used_mwh > 0 OR NEW.energy_mwh <> instrument.energy_mwh) THEN
        RAISE EXCEPTION '% % has been used; take that back first, with reverse', instrument.kind, instrument.serial;
    END IF;
    IF used_mwh + NEW.energy_mwh > instrument.energy_mwh THEN
        RAISE EXCEPTION '% % has % MWh left of %, not %', instrument.kind, instrument.serial,
            trim_scale(instrument.energy_mwh - used_mwh), trim_scale(instrument.energy_mwh), trim_scale(NEW.energy_mwh);
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

-- `instrument.*` of the view was spelled out when it was made.
DROP VIEW carbon_instrument_stock;
CREATE VIEW carbon_instrument_stock AS
SELECT instrument.*, coalesce(used.retired_mwh, 0) AS retired_mwh, coalesce(used.sold_mwh, 0) AS sold_mwh,
       coalesce(used.cancelled_mwh, 0) AS cancelled_mwh, energy_mwh - coalesce(used.used_mwh, 0) AS left_mwh,
       coalesce(used.is_void, false) AS is_void
FROM carbon_instrument AS instrument
LEFT JOIN LATERAL (
    SELECT sum(event.energy_mwh) AS used_mwh,
           sum(event.energy_mwh) FILTER (WHERE event.kind = 'retire') AS retired_mwh,
           sum(event.energy_mwh) FILTER (WHERE event.kind = 'sell') AS sold_mwh,
           sum(event.energy_mwh) FILTER (WHERE event.kind = 'cancel') AS cancelled_mwh,
           bool_or(event.kind = 'void') AS is_void
    FROM carbon_instrument_event AS event
    WHERE event.instrument_id = instrument.instrument_id AND event.kind <> 'reverse'
        AND NOT EXISTS (SELECT FROM carbon_instrument_event WHERE reverses = event.event_id)
) AS used ON true;
GRANT SELECT ON carbon_instrument_stock TO emsd_reader;

-- Parts of a figure that were not measured; see emsd.energy.ledger.results.
ALTER TABLE carbon_month
    ADD COLUMN completeness           double precision,
    ADD COLUMN estimated_import_kwh   double precision,
    ADD COLUMN estimated_location_kg  double precision,
    ADD COLUMN estimated_market_kg    double precision;
