"""Tariffs in the database: mirrored from the plant with the agreed demand, and read by whoever prices energy.

The rows of `tariff_price` are the plant's tariffs laid out on the time axis, from the first day of the first tariff to
the end of the year after the next, exact over the changes of the clock. Every start and every change of the plant looks
whether they still say what the plant does, and a service that runs on lays out one year more whenever a year begins.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import metadata
from typing import Final
from zoneinfo import ZoneInfo

import asyncpg
import numpy as np
from numpy.typing import NDArray

from emsd.energy.bill import ExcessBand, MonthlyTerms
from emsd.energy.cost import PriceCurve
from emsd.energy.windows import local_day_bounds
from emsd.plant.models import Plant
from emsd.plant.tariff import Tariff
from emsd.plant.tariff_prices import TariffSpan, monthly_terms, prices_of, tariff_spans
from emsd.readings import to_datetime
from emsd.store.contract_demand import agree_now, sync_contract_demand
from emsd.store.pool import Pool, Session, session

__all__ = [
    "TariffVersion",
    "extend_tariffs",
    "read_prices",
    "read_tariffs",
    "sync_tariffs",
]

_YEARS_AHEAD: Final = 3
"""The first year of which no prices are laid out comes so many years after this one."""

_LAYOUT: Final = 2
"""How prices are laid out; a higher number has them laid out anew."""
_DELETE: Final = ("DELETE FROM tariff_price WHERE site_id = $1", "DELETE FROM tariff WHERE site_id = $1")
_ADD_TARIFF: Final = """
INSERT INTO tariff (site_id, key, name, currency, source, valid_from, valid_to, demand_basis, demand_price_per_month,
    contract_capacity_kva, demand_minimum_share, demand_excess_above, demand_excess_factor, power_factor_percent,
    power_factor_rounds, fixed_per_month, tax_percent)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"""
_PRICE_COLUMNS: Final = (
    *("site_id", "from_time", "to_time", "tariff_key", "period"),
    *("price_per_kwh", "levy_per_kwh", "feed_in_per_kwh"),
)
_REMEMBER: Final = """
INSERT INTO tariff_mirror (site_id, made_from, prices_to) VALUES ($1, $2, $3)
ON CONFLICT (site_id) DO UPDATE SET made_from = excluded.made_from, prices_to = excluded.prices_to,
    written_at = now()"""
_READ_TARIFFS: Final = """
SELECT key, name, currency, source, valid_from, valid_to, demand_basis, demand_price_per_month, contract_capacity_kva,
    demand_minimum_share, demand_excess_above, demand_excess_factor, power_factor_percent, power_factor_rounds,
    fixed_per_month, tax_percent
FROM tariff WHERE site_id = $1 ORDER BY valid_from"""
# Stretches follow each other without overlap, so the one before the range is the only one that may reach into it.
_READ_PRICES: Final = """
SELECT array_agg((extract(epoch FROM from_time) * 1000000)::bigint) AS from_us,
    array_agg((extract(epoch FROM to_time) * 1000000)::bigint) AS to_us, array_agg(period) AS period,
    array_agg(price_per_kwh) AS price, array_agg(levy_per_kwh) AS levy, array_agg(feed_in_per_kwh) AS feed_in
FROM (
    SELECT * FROM tariff_price WHERE site_id = $1 AND from_time < $3 AND from_time >= coalesce(
        (SELECT max(from_time) FROM tariff_price WHERE site_id = $1 AND from_time <= $2), $2)
    ORDER BY from_time
) AS stretch"""


@dataclass(frozen=True, slots=True)
class TariffVersion:
    """One version of the contract over [valid_from, valid_to) [UTC], and what it charges by the month."""

    key: str
    name: str
    currency: str
    source: str
    valid_from: datetime
    valid_to: datetime | None
    terms: MonthlyTerms

    def is_valid_at(self, instant: datetime) -> bool:
        """Whether it applies at an instant."""
        return self.valid_from <= instant and (self.valid_to is None or instant < self.valid_to)


async def sync_tariffs(connection: Session, plant: Plant, *, now: datetime | None = None) -> None:
    """Make the tables of prices and of the agreed demand say what the plant does; best within its own transaction."""
    site = plant.site
    today = (now or datetime.now(UTC)).astimezone(site.zone).date()
    await sync_contract_demand(connection, plant, today)
    last = _last_day(today)
    made_from = _digest(plant, last)
    known = await connection.fetchval("SELECT made_from FROM tariff_mirror WHERE site_id = $1", site.number)
    if known != made_from and (known is not None or plant.tariffs):
        await _lay_out(connection, plant, last, made_from)


async def extend_tariffs(pool: Pool, plant: Plant, *, now: datetime | None = None) -> bool:
    """Let prices reach to the end of the year after the next again; True when they had to be laid out.

    Also makes the demand that is agreed now that of the site. Prices that another description made are left to
    whoever goes by it.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    instant, site = now or datetime.now(UTC), plant.site
    last = _last_day(instant.astimezone(site.zone).date())
    async with session(pool, "extend the prices") as connection, connection.transaction():
        # The row of the site is the lock, as for whoever mirrors the plant.
        await connection.execute("SELECT FROM site WHERE site_id = $1 FOR UPDATE", site.number)
        await agree_now(connection, site.number, instant)
        mirror = await connection.fetchrow(
            "SELECT made_from, prices_to FROM tariff_mirror WHERE site_id = $1", site.number
        )
        if mirror is None or mirror["prices_to"] is None:
            return False
        reached = mirror["prices_to"].astimezone(site.zone).date()
        if reached >= last or mirror["made_from"] != _digest(plant, reached):
            return False
        await _lay_out(connection, plant, last, _digest(plant, last))
    return True


def _last_day(today: date) -> date:
    """The first day of which no prices are laid out."""
    return date(today.year + _YEARS_AHEAD, 1, 1)


async def _lay_out(connection: Session, plant: Plant, last: date, made_from: bytes) -> None:
    site = plant.site
    for statement in _DELETE:
        await connection.execute(statement, site.number)
    for span in tariff_spans(plant.tariffs):
        await _add(connection, plant, span, last)
    prices_to = local_day_bounds(last, site.zone)[0] if plant.tariffs else None
    await connection.execute(_REMEMBER, site.number, made_from, prices_to)


async def read_tariffs(connection: Session, site_id: int) -> list[TariffVersion]:
    """Return every version of a site's contract in order of validity."""
    return [_version(row) for row in await connection.fetch(_READ_TARIFFS, site_id)]


async def read_prices(connection: Session, site_id: int, from_: datetime, to: datetime) -> PriceCurve:
    """Return the prices of a site that hold in [from_, to)."""
    row = await connection.fetchrow(_READ_PRICES, site_id, from_, to)
    periods: Sequence[str] = (row["period"] if row is not None else None) or ()
    names = tuple(dict.fromkeys(periods))
    numbers = {name: number for number, name in enumerate(names)}

    def column(name: str) -> NDArray[np.float64]:
        return np.array((row[name] if row is not None else None) or (), dtype=np.float64)

    return PriceCurve(
        from_us=np.array((row["from_us"] if row is not None else None) or (), dtype=np.int64),
        to_us=np.array((row["to_us"] if row is not None else None) or (), dtype=np.int64),
        period=np.array([numbers[name] for name in periods], dtype=np.int64),
        price_per_kwh=column("price"),
        levy_per_kwh=column("levy"),
        feed_in_per_kwh=column("feed_in"),
        names=names,
    )


def _digest(plant: Plant, last: date) -> bytes:
    """What the prices follow from: the tariffs, the zone, how far they reach, and what is known of holidays."""
    packages = (metadata.version("holidays"), metadata.version("tzdata"))
    said = "\n".join((*packages, plant.site.time_zone, last.isoformat(), str(_LAYOUT)))
    written = "\n".join(tariff.model_dump_json() for tariff in plant.tariffs)
    return hashlib.sha256(f"{said}\n{written}".encode()).digest()


async def _add(connection: Session, plant: Plant, span: TariffSpan, last: date) -> None:
    site, tariff, terms = plant.site, span.tariff, monthly_terms(span.tariff)
    await connection.execute(
        _ADD_TARIFF,
        site.number,
        tariff.key,
        tariff.name,
        tariff.currency,
        tariff.source,
        local_day_bounds(span.first, site.zone)[0],
        None if span.end is None else local_day_bounds(span.end, site.zone)[0],
        terms.demand_basis,
        terms.demand_price_per_month,
        terms.contract_capacity_kva,
        terms.demand_minimum_share,
        [band.above_share for band in terms.demand_excess],
        [band.price_factor for band in terms.demand_excess],
        terms.power_factor_percent,
        terms.power_factor_rounds,
        terms.fixed_per_month,
        terms.tax_percent,
    )
    # Years of prices are laid out beside the event loop, which goes on polling meanwhile.
    rows = await asyncio.to_thread(_price_rows, site.number, tariff, span.first, span.until(last), site.zone)
    await connection.copy_records_to_table("tariff_price", records=rows, columns=_PRICE_COLUMNS)


def _price_rows(site_id: int, tariff: Tariff, first: date, end: date, zone: ZoneInfo) -> list[tuple[object, ...]]:
    if first >= end:
        return []
    periods = prices_of(tariff, first, end, zone)
    columns = (
        periods.from_us.tolist(),
        periods.to_us.tolist(),
        periods.period.tolist(),
        periods.price_per_kwh.tolist(),
    )
    return [
        (
            site_id,
            to_datetime(from_us),
            to_datetime(to_us),
            tariff.key,
            periods.names[period],
            None if math.isnan(price) else price,
            tariff.levy_per_kwh,
            tariff.feed_in_per_kwh,
        )
        for from_us, to_us, period, price in zip(*columns, strict=True)
    ]


def _version(row: asyncpg.Record) -> TariffVersion:
    percent = row["power_factor_percent"]
    return TariffVersion(
        key=row["key"],
        name=row["name"],
        currency=row["currency"],
        source=row["source"],
        valid_from=row["valid_from"],
        valid_to=row["valid_to"],
        terms=MonthlyTerms(
            demand_basis=row["demand_basis"],
            demand_price_per_month=row["demand_price_per_month"],
            contract_capacity_kva=row["contract_capacity_kva"],
            demand_minimum_share=row["demand_minimum_share"],
            demand_excess=tuple(map(ExcessBand, row["demand_excess_above"], row["demand_excess_factor"])),
            power_factor_percent=None if percent is None else tuple(percent),
            power_factor_rounds=row["power_factor_rounds"],
            fixed_per_month=row["fixed_per_month"],
            tax_percent=row["tax_percent"],
        ),
    )
