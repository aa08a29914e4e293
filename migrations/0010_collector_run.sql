-- When which process collected, so that the readings that nobody took in between are known by meter and time: they are
-- written to reading_loss once for each run, in the transaction that sets accounted_at.

CREATE TABLE collector_run (
    run_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id      integer NOT NULL REFERENCES site,
    shard        text NOT NULL,                             -- i/n: which part of the site's connections
    started_at   timestamptz NOT NULL,                      -- before its collectors took their first tick
    alive_at     timestamptz NOT NULL,                      -- all that was polled until then is durable, or counted
    stopped_at   timestamptz,                               -- NULL: it runs, or ended without stopping
    accounted_at timestamptz,                               -- when the gap before it was written to reading_loss
    UNIQUE (site_id, shard, started_at)
);
GRANT SELECT ON collector_run TO emsd_reader;

ALTER TABLE reading_loss ADD COLUMN taken boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN reading_loss.taken IS 'false: nobody polled; true: the reading was taken and could not be kept';
