-- Rolling windows add up many meters over a short time; rows lie in order of time, so a block range index (a few pages)
-- finds them many times faster than one probe of the primary key per meter.
CREATE INDEX interval_1m_bucket_brin ON interval_1m USING brin (bucket) WITH (pages_per_range = 8);
CREATE INDEX interval_1d_day_brin ON interval_1d USING brin (day) WITH (pages_per_range = 8);
CREATE INDEX interval_15m_bucket_brin ON interval_15m USING brin (bucket) WITH (pages_per_range = 8);
