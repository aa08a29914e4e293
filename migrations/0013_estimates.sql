-- What long gaps hold, by like days, beside the intervals and never inside them: interval_15m stays a function of raw
-- readings alone. One row a quarter hour and direction of a gap longer than an hour.

CREATE TABLE estimate_15m (
    meter_id     integer NOT NULL,
    bucket       timestamptz NOT NULL,
    direction    text NOT NULL CHECK (direction IN ('import', 'export')),
    energy_kwh   double precision,                          -- in the gap's part of the quarter hour; NULL: unknown
    replaced_kwh double precision NOT NULL,                 -- what the even spread put there, and this takes the place of
    method       text NOT NULL CHECK (method IN ('like_days', 'even', 'none')),
    total_known  boolean NOT NULL,                          -- whether a counter said what the gap holds in all
    basis_days   date[] NOT NULL,                           -- local days of the site
    computed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (meter_id, bucket, direction)
);

-- Quarter hours whose estimate may no longer be what the intervals say; accounting works them off.
CREATE TABLE estimate_due (
    meter_id     integer NOT NULL,
    bucket       timestamptz NOT NULL,
    PRIMARY KEY (meter_id, bucket)
);

-- Measured and estimated energy together; estimated_* is the part that was not measured: what was spread evenly over
-- gaps of up to an hour, and the estimates of longer ones.
CREATE VIEW best_15m AS
SELECT part.meter_id, part.bucket,
    coalesce(part.energy_import_kwh, CASE WHEN taken.energy_kwh IS NOT NULL THEN 0 END)
        + coalesce(taken.energy_kwh - taken.replaced_kwh, 0) AS energy_import_kwh,
    coalesce(part.energy_export_kwh, CASE WHEN given.energy_kwh IS NOT NULL THEN 0 END)
        + coalesce(given.energy_kwh - given.replaced_kwh, 0) AS energy_export_kwh,
    part.estimated_import_kwh + coalesce(taken.energy_kwh - taken.replaced_kwh, 0) AS estimated_import_kwh,
    part.estimated_export_kwh + coalesce(given.energy_kwh - given.replaced_kwh, 0) AS estimated_export_kwh,
    part.coverage
FROM interval_15m AS part
LEFT JOIN estimate_15m AS taken
    ON taken.meter_id = part.meter_id AND taken.bucket = part.bucket AND taken.direction = 'import'
LEFT JOIN estimate_15m AS given
    ON given.meter_id = part.meter_id AND given.bucket = part.bucket AND given.direction = 'export'
UNION ALL
SELECT meter_id, bucket,
    sum(energy_kwh) FILTER (WHERE direction = 'import'), sum(energy_kwh) FILTER (WHERE direction = 'export'),
    coalesce(sum(energy_kwh) FILTER (WHERE direction = 'import'), 0),
    coalesce(sum(energy_kwh) FILTER (WHERE direction = 'export'), 0),
    0::real
FROM estimate_15m AS alone
WHERE NOT EXISTS (SELECT FROM interval_15m WHERE meter_id = alone.meter_id AND bucket = alone.bucket)
GROUP BY meter_id, bucket;

CREATE VIEW best_1d AS
WITH estimate AS (
    SELECT estimate_15m.meter_id, (bucket AT TIME ZONE site.time_zone)::date AS day,
        sum(energy_kwh) FILTER (WHERE direction = 'import') AS import_kwh,
        sum(energy_kwh) FILTER (WHERE direction = 'export') AS export_kwh,
        coalesce(sum(energy_kwh - replaced_kwh) FILTER (WHERE direction = 'import'), 0) AS more_import_kwh,
        coalesce(sum(energy_kwh - replaced_kwh) FILTER (WHERE direction = 'export'), 0) AS more_export_kwh
    FROM estimate_15m JOIN meter USING (meter_id) JOIN site USING (site_id)
    GROUP BY 1, 2
)
SELECT part.meter_id, part.day,
    coalesce(part.energy_import_kwh, CASE WHEN estimate.import_kwh IS NOT NULL THEN 0 END)
        + coalesce(estimate.more_import_kwh, 0) AS energy_import_kwh,
    coalesce(part.energy_export_kwh, CASE WHEN estimate.export_kwh IS NOT NULL THEN 0 END)
        + coalesce(estimate.more_export_kwh, 0) AS energy_export_kwh,
    part.estimated_import_kwh + coalesce(estimate.more_import_kwh, 0) AS estimated_import_kwh,
    part.estimated_export_kwh + coalesce(estimate.more_export_kwh, 0) AS estimated_export_kwh,
    part.coverage
FROM interval_1d AS part LEFT JOIN estimate USING (meter_id, day)
UNION ALL
SELECT meter_id, day, import_kwh, export_kwh, coalesce(import_kwh, 0), coalesce(export_kwh, 0), 0::real
FROM estimate AS alone
WHERE NOT EXISTS (SELECT FROM interval_1d WHERE meter_id = alone.meter_id AND day = alone.day);

GRANT SELECT ON estimate_15m, best_15m, best_1d TO emsd_reader;
