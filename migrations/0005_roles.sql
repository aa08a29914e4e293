-- emsd_reader is Grafana's: it may read what a person looks at, and no single statement of it may hold the database for
-- long. It gets no password here; `emsd migrate --reader-password-env NAME` sets one where it must log in.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'emsd_reader') THEN
        CREATE ROLE emsd_reader LOGIN;
    END IF;
END
$$;
ALTER ROLE emsd_reader SET statement_timeout = '10s';
ALTER ROLE emsd_reader SET default_transaction_read_only = on;
GRANT USAGE ON SCHEMA public TO emsd_reader;
GRANT SELECT ON site, area, asset, meter, meter_event, carbon_factor, reading, reading_loss, collector_health_1m,
    interval_1m, interval_15m, interval_1d, alarm, alarm_journal, quarantine TO emsd_reader;
