-- Estimates of virtual meters, and the calendar by which estimates were made.

-- A virtual meter whose inputs are estimated is estimated too: its expression over the best known energy of the inputs
-- takes the place of what its interval says. What that adds to the estimated part is not the same then as what it adds
-- to the energy, since the inputs are measured in part.
ALTER TABLE estimate_15m
    DROP CONSTRAINT estimate_15m_method_check,
    ADD CONSTRAINT estimate_15m_method_check CHECK (method IN ('like_days', 'even', 'none', 'inputs')),
    ADD COLUMN more_estimated_kwh double precision;
COMMENT ON COLUMN estimate_15m.more_estimated_kwh IS
    'what this adds to the estimated part of the interval; NULL: energy_kwh - replaced_kwh, as of every meter with readings';

INSERT INTO estimate_due (meter_id, bucket)
SELECT DISTINCT virtual.meter_id, estimate.bucket
FROM virtual_meter_input AS virtual JOIN estimate_15m AS estimate ON estimate.meter_id = virtual.input_meter_id
ON CONFLICT DO NOTHING;

-- Which kind of day each local day was when estimates were made (emsd.energy.like_days.DayClass). Where the calendar says
-- otherwise today, the estimates around that day are made anew.
CREATE TABLE estimate_day (
    day       date PRIMARY KEY,
    day_class smallint NOT NULL
);

-- As before (migration 0013), with that column; and an estimate whose quarter hour retention has dropped is not told as
-- if nothing had been measured beside it.
CREATE OR REPLACE VIEW best_15m AS
SELECT part.meter_id, part.bucket,
    coalesce(part.energy_import_kwh, CASE WHEN taken.energy_kwh IS NOT NULL THEN 0 END)
        + coalesce(taken.energy_kwh - taken.replaced_kwh, 0) AS energy_import_kwh,
    coalesce(part.energy_export_kwh, CASE WHEN given.energy_kwh IS NOT NULL THEN 0 END)
        + coalesce(given.energy_kwh - given.replaced_kwh, 0) AS energy_export_kwh,
    part.estimated_import_kwh
        + coalesce(taken.more_estimated_kwh, taken.energy_kwh - taken.replaced_kwh, 0) AS estimated_import_kwh,
    part.estimated_export_kwh
        + coalesce(given.more_estimated_kwh, given.energy_kwh - given.replaced_kwh, 0) AS estimated_export_kwh,
    part.coverage
FROM interval_15m AS part
LEFT JOIN estimate_15m AS taken
    ON taken.meter_id = part.meter_id AND taken.bucket = part.bucket AND taken.direction = 'import'
LEFT JOIN estimate_15m AS given
    ON given.meter_id = part.meter_id AND given.bucket = part.bucket AND given.direction = 'export'
UNION ALL
SELECT meter_id, bucket,
    sum(energy_kwh) FILTER (WHERE direction = 'import'), sum(energy_kwh) FILTER (WHERE direction = 'export'),
    coalesce(sum(coalesce(more_estimated_kwh, energy_kwh)) FILTER (WHERE direction = 'import'), 0),
    coalesce(sum(coalesce(more_estimated_kwh, energy_kwh)) FILTER (WHERE direction = 'export'), 0),
    0::real
FROM estimate_15m AS alone
WHERE NOT EXISTS (SELECT FROM interval_15m WHERE meter_id = alone.meter_id AND bucket = alone.bucket)
    AND bucket >= coalesce((SELECT kept_from FROM retention_horizon WHERE tier = '15m'), '-infinity')
GROUP BY meter_id, bucket;

CREATE OR REPLACE VIEW best_1d AS
WITH estimate AS (
    SELECT estimate_15m.meter_id, (bucket AT TIME ZONE site.time_zone)::date AS day,
        sum(energy_kwh) FILTER (WHERE direction = 'import') AS import_kwh,
        sum(energy_kwh) FILTER (WHERE direction = 'export') AS export_kwh,
        coalesce(sum(energy_kwh - replaced_kwh) FILTER (WHERE direction = 'import'), 0) AS more_import_kwh,
        coalesce(sum(energy_kwh - replaced_kwh) FILTER (WHERE direction = 'export'), 0) AS more_export_kwh,
        coalesce(sum(coalesce(more_estimated_kwh, energy_kwh - replaced_kwh)) FILTER (WHERE direction = 'import'), 0)
            AS estimated_import_kwh,
        coalesce(sum(coalesce(more_estimated_kwh, energy_kwh - replaced_kwh)) FILTER (WHERE direction = 'export'), 0)
            AS estimated_export_kwh
    FROM estimate_15m JOIN meter USING (meter_id) JOIN site USING (site_id)
    GROUP BY 1, 2
)
SELECT part.meter_id, part.day,
    coalesce(part.energy_import_kwh, CASE WHEN estimate.import_kwh IS NOT NULL THEN 0 END)
        + coalesce(estimate.more_import_kwh, 0) AS energy_import_kwh,
    coalesce(part.energy_export_kwh, CASE WHEN estimate.export_kwh IS NOT NULL THEN 0 END)
        + coalesce(estimate.more_export_kwh, 0) AS energy_export_kwh,
    part.estimated_import_kwh + coalesce(estimate.estimated_import_kwh, 0) AS estimated_import_kwh,
    part.estimated_export_kwh + coalesce(estimate.estimated_export_kwh, 0) AS estimated_export_kwh,
    part.coverage
FROM interval_1d AS part LEFT JOIN estimate USING (meter_id, day)
UNION ALL
SELECT meter_id, day, import_kwh, export_kwh,
    CASE WHEN import_kwh IS NULL THEN 0 ELSE estimated_import_kwh END,
    CASE WHEN export_kwh IS NULL THEN 0 ELSE estimated_export_kwh END, 0::real
FROM estimate AS alone
WHERE NOT EXISTS (SELECT FROM interval_1d WHERE meter_id = alone.meter_id AND day = alone.day);
