-- The ledger of what happened to meters, as an auditor wants it: what was written stays, and a correction is a new event
-- that supersedes an earlier one of the same meter.

ALTER TABLE meter_event DROP CONSTRAINT meter_event_kind_check;
ALTER TABLE meter_event ADD COLUMN supersedes bigint UNIQUE;
ALTER TABLE meter_event ADD CONSTRAINT meter_event_of_meter UNIQUE (meter_id, event_id);
ALTER TABLE meter_event
    ADD CONSTRAINT meter_event_kind_check
        CHECK (kind IN ('swap', 'reset', 'ct_ratio', 'manual_reading', 'hold_out', 'withdrawal')),
    ADD CONSTRAINT meter_event_supersedes FOREIGN KEY (meter_id, supersedes)
        REFERENCES meter_event (meter_id, event_id),
    ADD CONSTRAINT meter_event_supersedes_earlier CHECK (supersedes < event_id),
    ADD CONSTRAINT meter_event_withdraws CHECK (kind <> 'withdrawal' OR supersedes IS NOT NULL),
    -- Rows that stand there already are not asked.
    ADD CONSTRAINT meter_event_signed CHECK (btrim(author) <> '' AND btrim(note) <> '') NOT VALID;

COMMENT ON COLUMN meter_event.supersedes IS 'the event that this one replaces; that one counts no more';
COMMENT ON COLUMN meter_event.detail IS 'what the kind needs; see docs/meter-events.md';

CREATE FUNCTION refuse_change_of_meter_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'meter_event is a ledger: % is refused', TG_OP
        USING ERRCODE = 'restrict_violation',
              HINT = 'Write a new event that supersedes the wrong one: emsd events add METER KIND --supersedes ID.';
END
$$;

CREATE TRIGGER meter_event_stays BEFORE UPDATE OR DELETE ON meter_event
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_meter_event();
CREATE TRIGGER meter_event_stays_whole BEFORE TRUNCATE ON meter_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_meter_event();
-- Also for whoever replays a replication stream as a replica would.
ALTER TABLE meter_event ENABLE ALWAYS TRIGGER meter_event_stays;
ALTER TABLE meter_event ENABLE ALWAYS TRIGGER meter_event_stays_whole;
