"""The carbon ledger of a site: everything that makes it, read at one instant; and its months, kept for Grafana."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import date, datetime
from typing import Final

import asyncpg

from emsd.energy.carbon import CarbonMethod
from emsd.energy.ledger import LedgerInputs, LedgerResults, compute
from emsd.energy.ledger.build import LedgerParts, MeterEnergy, build_inputs, column_of, frame_of
from emsd.energy.ledger.inputs import MeterColumn, MeterRole, Site
from emsd.energy.series import BUCKET_15M_US, TimeArray, bucket_edges, datetime_from_us, datetime_to_us, floor_us
from emsd.energy.windows import local_day_bounds
from emsd.errors import LedgerRefused, StoreError
from emsd.pace import Turns
from emsd.plant.carbon import CarbonLedger
from emsd.store.activities import read_activities
from emsd.store.carbon_factors import read_factors, read_hours
from emsd.store.carbon_settings import read_carbon_settings
from emsd.store.certificates import read_instruments
from emsd.store.energy_series import EnergySeries, read_energy
from emsd.store.plant_view import PlantView, read_plant_view
from emsd.store.pool import Pool, Session, session
from emsd.store.reads import snapshot
from emsd.store.scopes import meters_of_scope

__all__ = [
    "read_ledger_inputs",
    "refresh_months",
    "site_numbered",
    "year_of",
]

_METHODS: Final[tuple[CarbonMethod, ...]] = ("location", "market", "residual")

_COMPUTED: Final = """
SELECT meter_id, max(computed_at) AS computed_at,
    array_agg(DISTINCT version) FILTER (WHERE version IS NOT NULL) AS versions
FROM interval_15m
WHERE meter_id = ANY($1::integer[]) AND bucket >= $2 AND bucket < $3 GROUP BY meter_id"""
_METERS_PER_READ: Final = 50
"""Meters whose quarter hours are in memory at once: a year of one is 1.4 MB."""
_LARGEST_SHARE: Final = 0.3
"""Share of the time that a ledger of many meters may take, beside polls, while it is read."""
_SITES: Final = "SELECT site_id FROM site ORDER BY site_id"

_MONTH_FIGURES: Final = (
    "grid_import_kwh", "pv_used_kwh", "load_kwh", "coverage", "estimated_share", "scope1_kg", "location_kg",
    "location_coverage", "market_kg", "certificate_kwh", "contract_kwh", "avoided_kg", "self_consumption",
    "self_sufficiency", "renewable_coverage",
)  # fmt: skip
_WRITE_MONTH: Final = """
INSERT INTO carbon_month (site_id, month, begins_at, ends_at, missing, computed_at, {names})
VALUES ($1, $2, $3, $4, $5, $6, {values})
ON CONFLICT (site_id, month) DO UPDATE SET begins_at = excluded.begins_at, ends_at = excluded.ends_at,
    missing = excluded.missing, computed_at = excluded.computed_at, {updates}""".format(
    names=", ".join(_MONTH_FIGURES),
    values=", ".join(f"${place}" for place in range(7, 7 + len(_MONTH_FIGURES))),
    updates=", ".join(f"{name} = excluded.{name}" for name in _MONTH_FIGURES),
)


async def site_numbered(pool: Pool, wanted: int | None) -> int:
    """Return the number of the site that a person means: the only one, unless they name one.

    Raises:
        LedgerRefused: there is none, several, or none of this number.
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "look up the site") as connection:
        known = [row["site_id"] for row in await connection.fetch(_SITES)]
    if wanted is None and len(known) == 1:
        return int(known[0])
    if wanted in known and wanted is not None:
        return wanted
    raise LedgerRefused(f"the database knows the sites {', '.join(map(str, known)) or '(none)'}; name one with --site")


async def read_ledger_inputs(
    pool: Pool, site_id: int, first_day: date, end_day: date, *, now: datetime
) -> LedgerInputs:
    """Return the inputs of the ledger of the local days [first_day, end_day), up to now where it is running.

    Raises:
        StoreError: the database knows no such site, or an activity in it cannot be computed.
        LedgerRefused: the period has not begun.
        StoreUnavailable: the database cannot be reached now.
    """
    plant = await read_plant_view(pool, site_id)
    edges_us = _edges(plant, first_day, end_day, now)
    from_, to = datetime_from_us(int(edges_us[0])), datetime_from_us(int(edges_us[-1]))
    async with snapshot(pool, "read the carbon ledger") as connection:
        settings = await read_carbon_settings(connection, site_id)
        site = _site(plant, settings)
        regions = {method: _region(site, method) for method in _METHODS}
        parts = LedgerParts(
            site=site,
            gwp_set=settings.gwp_set,
            matching=settings.matching,
            edges_us=edges_us,
            factors={each: await read_factors(connection, regions[each], each, from_, to) for each in _METHODS},
            hours={each: await read_hours(connection, regions[each], each, from_, to) for each in _METHODS},
            instruments=await read_instruments(connection, site_id, from_, to),
            activities=await read_activities(connection, site_id, from_, to),
        )
        frame = await asyncio.to_thread(frame_of, parts)
        meters = [each async for each in _meters(connection, plant, edges_us, frame.starts)]
    try:
        return await asyncio.to_thread(build_inputs, parts, frame, meters)
    except ValueError as error:
        raise StoreError(f"the carbon ledger cannot be computed: {error}") from error


async def refresh_months(pool: Pool, site_id: int, year: int, *, now: datetime) -> LedgerResults:
    """Compute the ledger of a local year, up to now, and keep its months for Grafana.

    Raises:
        StoreError: see `read_ledger_inputs`.
        LedgerRefused: the year has not begun.
        StoreUnavailable: the database cannot be reached now.
    """
    inputs = await read_ledger_inputs(pool, site_id, date(year, 1, 1), date(year + 1, 1, 1), now=now)
    results = await asyncio.to_thread(compute, inputs)
    rows = [
        (
            site_id,
            date.fromisoformat(f"{month.name}-01"),
            month.begins_at,
            month.ends_at,
            [each for each in results.missing if month.name in each],
            now,
            *(_float(getattr(figures, name)) for name in _MONTH_FIGURES),
        )
        for month, figures in zip(inputs.months, results.months, strict=True)
    ]
    async with session(pool, "keep the months of the carbon ledger") as connection, connection.transaction():
        await connection.executemany(_WRITE_MONTH, rows)
    return results


async def year_of(pool: Pool, site_id: int, now: datetime) -> int:
    """Return the local year of a site.

    Raises:
        StoreError: the database knows no such site.
        StoreUnavailable: the database cannot be reached now.
    """
    return now.astimezone((await read_plant_view(pool, site_id)).zone).year


def _edges(plant: PlantView, first_day: date, end_day: date, now: datetime) -> TimeArray:
    from_us = datetime_to_us(local_day_bounds(first_day, plant.zone)[0])
    to_us = datetime_to_us(local_day_bounds(end_day, plant.zone)[0])
    to_us = min(to_us, floor_us(datetime_to_us(now), BUCKET_15M_US))
    if to_us <= from_us:
        raise LedgerRefused(f"the period from {first_day} to {end_day} is empty or has not begun; choose another one")
    return bucket_edges(from_us, to_us, BUCKET_15M_US)


def _site(plant: PlantView, settings: CarbonLedger) -> Site:
    return Site(
        site_id=plant.site.site_id,
        name=plant.site.name,
        time_zone=plant.site.time_zone,
        carbon_region=plant.site.carbon_region,
        residual_region=settings.residual_region or plant.site.carbon_region,
    )


def _region(site: Site, method: CarbonMethod) -> str:
    return site.residual_region if method == "residual" else site.carbon_region


async def _meters(
    connection: Session, plant: PlantView, edges_us: TimeArray, starts: TimeArray
) -> AsyncIterator[MeterColumn]:
    """Yield the sums of every meter; a year of quarter hours of all meters at once can be more than memory holds."""
    scope = meters_of_scope(plant, "site", None)
    wanted: list[tuple[int, MeterRole]] = [(each, "grid") for each in scope.top]
    wanted += [(each, "generation") for each in scope.generation]
    bounds = datetime_from_us(int(edges_us[0])), datetime_from_us(int(edges_us[-1]))
    turns = Turns(_LARGEST_SHARE)
    for first in range(0, len(wanted), _METERS_PER_READ):
        part = wanted[first : first + _METERS_PER_READ]
        ids = sorted({meter_id for meter_id, _ in part})
        async with turns:
            energy = await read_energy(connection, ids, "15m", edges_us)
            computed = {row["meter_id"]: row for row in await connection.fetch(_COMPUTED, ids, *bounds)}
            found = [_meter(plant, meter_id, role, energy, computed) for meter_id, role in part]
            columns = await asyncio.to_thread(lambda meters: [column_of(each, starts) for each in meters], found)
        for column in columns:
            yield column


def _meter(
    plant: PlantView,
    meter_id: int,
    role: MeterRole,
    energy: Mapping[int, EnergySeries],
    computed: Mapping[int, asyncpg.Record],
) -> MeterEnergy:
    series, row = energy[meter_id], computed.get(meter_id)
    return MeterEnergy(
        meter_id=meter_id,
        key=plant.meters[meter_id].key,
        role=role,
        import_kwh=series.import_kwh,
        export_kwh=series.export_kwh,
        estimated_kwh=series.estimated_import_kwh + series.estimated_export_kwh,
        coverage=series.coverage,
        computed_at=None if row is None else row["computed_at"],
        versions=() if row is None else tuple(row["versions"] or ()),
    )


def _float(value: object) -> float | None:
    return None if value is None else float(str(value))
