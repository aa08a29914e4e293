-- What Grafana may know of notifications: where they are on their way. Titles, bodies and errors stay with the service,
-- since an error of a mail or chat gateway may repeat the address, and with it the secret, that it was sent to.
CREATE VIEW notification_status AS
SELECT notification_id, journal_id, alarm_id, meter_id, time, transition, target_key, notification_outbox.state,
       attempts, next_attempt_at, sent_at
FROM notification_outbox JOIN alarm_journal USING (journal_id) JOIN alarm USING (alarm_id);

GRANT SELECT ON notification_status TO emsd_reader;
