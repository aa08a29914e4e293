-- Alarms after ISA-18.2: one row per alarm and meter with its present state, a journal that is only appended to, and an
-- outbox of notifications, so that a restart neither forgets one nor sends one twice.

CREATE TABLE alarm (
    alarm_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id        integer NOT NULL REFERENCES meter,
    rule_key        text NOT NULL,
    name            text NOT NULL,
    priority        text NOT NULL CHECK (priority IN ('high', 'medium', 'low')),
    condition       text NOT NULL,                          -- the rule in words: active_power_kw > 300 kW for 60 s
    advice          text NOT NULL DEFAULT '',
    state           text NOT NULL CHECK (state IN ('normal', 'unacknowledged', 'acknowledged', 'returned_unacknowledged')),
    since           timestamptz NOT NULL,                   -- when it entered this state
    value           double precision,                       -- what the quantity was at the last transition
    retired_at      timestamptz,                            -- its rule left the configuration
    UNIQUE (meter_id, rule_key)
);

CREATE TABLE alarm_journal (
    journal_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alarm_id    bigint NOT NULL REFERENCES alarm,
    time        timestamptz NOT NULL,
    transition  text NOT NULL CHECK (transition IN ('occur', 'acknowledge', 'return', 'reoccur')),
    from_state  text NOT NULL,
    to_state    text NOT NULL,
    value       double precision,
    author      text,                                       -- who acknowledged
    note        text NOT NULL DEFAULT ''
);
CREATE INDEX alarm_journal_time ON alarm_journal (time DESC);

CREATE TABLE notification_outbox (
    notification_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    journal_id      bigint NOT NULL REFERENCES alarm_journal,
    target_key      text NOT NULL,
    title           text NOT NULL,
    body            text NOT NULL,
    state           text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sending', 'sent', 'failed')),
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    last_error      text,
    sent_at         timestamptz,
    UNIQUE (journal_id, target_key)
);
CREATE INDEX notification_outbox_due ON notification_outbox (next_attempt_at) WHERE state IN ('pending', 'sending');
