-- Prices of electricity and the agreed demand, mirrored from the plant's description as periods on the time axis, so that
-- a join gives the cost of any interval. What is here is written anew whenever the description says something else:
-- costs are computed when somebody asks and stored nowhere.

ALTER TABLE site ADD COLUMN demand_period_min integer NOT NULL DEFAULT 15;   -- settlement period of the demand [min]

CREATE TABLE contract_demand (
    site_id            integer NOT NULL REFERENCES site,
    valid_from         timestamptz NOT NULL,                -- -infinity for what held before the first change
    contract_demand_kw double precision NOT NULL,
    PRIMARY KEY (site_id, valid_from)
);

-- One version of the contract, with what it charges by the month.
CREATE TABLE tariff (
    site_id                integer NOT NULL REFERENCES site,
    key                    text NOT NULL,
    name                   text NOT NULL,
    currency               text NOT NULL,
    source                 text NOT NULL,
    valid_from             timestamptz NOT NULL,
    valid_to               timestamptz,                     -- NULL: no end is known
    demand_basis           text CHECK (demand_basis IN ('maximum_demand', 'contract_demand', 'contract_capacity')),
    demand_price_per_month double precision NOT NULL,       -- currency/kW, for contract_capacity currency/kVA
    contract_capacity_kva  double precision,
    power_factor_percent   double precision[],              -- change of the bill at power factor 0.00, 0.01, ... 1.00
    fixed_per_month        double precision NOT NULL,
    tax_percent            double precision NOT NULL,
    PRIMARY KEY (site_id, key),
    UNIQUE (site_id, valid_from)
);

-- What a kilowatt-hour costs: one row a contiguous stretch of one period and price. They follow each other without
-- overlap; where no row is, or its price is NULL, no price is known.
CREATE TABLE tariff_price (
    site_id         integer NOT NULL REFERENCES site,
    from_time       timestamptz NOT NULL,
    to_time         timestamptz NOT NULL,
    tariff_key      text NOT NULL,
    period          text NOT NULL,                          -- peak, flat, valley, ...
    price_per_kwh   double precision,                       -- of energy drawn, without levy and tax
    levy_per_kwh    double precision NOT NULL,
    feed_in_per_kwh double precision,                       -- of energy given to the grid; NULL: nothing is agreed
    CHECK (to_time > from_time),
    PRIMARY KEY (site_id, from_time)
);

-- What the rows above were made from, so that they are only written when that has changed.
CREATE TABLE tariff_mirror (
    site_id     integer PRIMARY KEY REFERENCES site,
    made_from   bytea NOT NULL,
    prices_to   timestamptz,                                -- prices were laid out up to here
    written_at  timestamptz NOT NULL DEFAULT now()
);

GRANT SELECT ON contract_demand, tariff, tariff_price TO emsd_reader;
