-- What a tariff charges for demand besides its price per kW: a share of the agreed demand that is billed at least, and
-- bands above the agreed demand that cost a multiple. And whether a month's power factor is rounded before the table of
-- adjustments is asked: the published tables of China say so, a contract's own steps do not.

ALTER TABLE tariff
    ADD COLUMN demand_minimum_share  double precision,          -- of the agreed demand; NULL: what was drawn is billed
    ADD COLUMN demand_excess_above   double precision[] NOT NULL DEFAULT '{}',   -- shares of the agreed demand, ascending
    ADD COLUMN demand_excess_factor  double precision[] NOT NULL DEFAULT '{}',   -- times demand_price_per_month
    ADD COLUMN power_factor_rounds   boolean NOT NULL DEFAULT true,
    ADD CONSTRAINT tariff_excess CHECK (cardinality(demand_excess_above) = cardinality(demand_excess_factor));
