-- What was never measured: history that the simulator wrote straight into the tiers. Every such row of interval_15m and
-- interval_1d carries the flag 256 (emsd.energy.series: SIMULATED); this ledger says who wrote it, when and from what,
-- one row a transaction. gauge_15m and asset_15m have no flags: for them it is the ledger alone.

CREATE TABLE simulated_history (
    history_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id         integer NOT NULL REFERENCES site,
    from_time       timestamptz NOT NULL,
    to_time         timestamptz NOT NULL,
    meter_ids       integer[] NOT NULL,                     -- meters of which rows were written
    seed            bigint NOT NULL,                        -- the same plant and seed give the same figures again
    replaced        text NOT NULL CHECK (replaced IN ('nothing', 'simulated', 'all')),
    quarter_hours   bigint NOT NULL,                        -- rows of interval_15m
    gauge_quarters  bigint NOT NULL,                        -- rows of gauge_15m
    asset_quarters  bigint NOT NULL,                        -- rows of asset_15m
    author          text NOT NULL CHECK (btrim(author) <> ''),
    recorded_at     timestamptz NOT NULL DEFAULT now(),
    CHECK (to_time > from_time)
);
COMMENT ON TABLE simulated_history IS 'energy that never flowed: written by emsd simulate history';

CREATE FUNCTION refuse_change_of_simulated_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'simulated_history is a ledger: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER simulated_history_stays BEFORE UPDATE OR DELETE ON simulated_history
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_simulated_history();
CREATE TRIGGER simulated_history_stays_whole BEFORE TRUNCATE ON simulated_history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_simulated_history();
ALTER TABLE simulated_history ENABLE ALWAYS TRIGGER simulated_history_stays;
ALTER TABLE simulated_history ENABLE ALWAYS TRIGGER simulated_history_stays_whole;

GRANT SELECT ON simulated_history TO emsd_reader;
