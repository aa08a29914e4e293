-- What is kept in quarantine: enough to run a message through a mended mapping again, and what became of it.

ALTER TABLE quarantine
    ADD COLUMN connection    text,
    ADD COLUMN topic         text,
    ADD COLUMN qos           smallint,
    ADD COLUMN retained      boolean NOT NULL DEFAULT false,
    ADD COLUMN payload_bytes bigint,                        -- of the whole message; payload may be its beginning
    ADD COLUMN outcome       text CHECK (outcome IN ('stored', 'dropped')),
    ADD COLUMN resolved_at   timestamptz,
    ADD COLUMN resolved_by   text,
    ADD CONSTRAINT quarantine_resolved CHECK (
        (outcome IS NULL) = (resolved_at IS NULL) AND (outcome IS NULL) = (resolved_by IS NULL));
UPDATE quarantine SET payload_bytes = length(payload);
ALTER TABLE quarantine ALTER COLUMN payload_bytes SET NOT NULL;
