-- The counts that hold now, so that those of a window are found by their time: with DISTINCT ON every reader went through
-- the whole ledger before it could leave out what lies outside. Only corrections supersede, and they are few.
CREATE INDEX production_count_correction ON production_count (site_id, external_id, version) WHERE version > 1;
CREATE OR REPLACE VIEW production_current AS
SELECT count_id, site_id, external_id, version, product_id, stage, from_time, to_time, units, good_units, withdrawn,
    author, note, recorded_at
FROM production_count AS counted
WHERE NOT EXISTS (
    SELECT FROM production_count AS later
    WHERE later.site_id = counted.site_id AND later.external_id = counted.external_id
      AND later.version > counted.version AND later.version > 1
);
