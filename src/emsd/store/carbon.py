"""The carbon ledger of a site: everything that makes it, read at one instant; and its months, kept for Grafana."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Final

import asyncpg

from emsd.energy.factors import CarbonMethod
from emsd.energy.ledger import LedgerInputs, LedgerResults, compute
from emsd.energy.ledger.build import LedgerParts, build_inputs, frame_of, sums_of
from emsd.energy.ledger.columns import ColumnSums, MeterEnergy
from emsd.energy.ledger.inputs import MeterColumn, MeterRole, Site
from emsd.energy.series import BUCKET_15M_US, TimeArray, bucket_edges, datetime_from_us, datetime_to_us, floor_us
from emsd.energy.windows import local_day_bounds
from emsd.errors import LedgerRefused, StoreError
from emsd.pace import Turns
from emsd.plant.carbon import CarbonLedger
from emsd.store.activities import read_activities
from emsd.store.best_energy import read_best_energy
from emsd.store.carbon_factors import read_factor_timeline
from emsd.store.carbon_meters import CountedMeter, read_counted_meters
from emsd.store.carbon_settings import read_carbon_settings
from emsd.store.certificate_journal import read_instruments
from emsd.store.energy_series import EnergySeries
from emsd.store.plant_view import PlantView, plant_view_of, read_plant_view
from emsd.store.pool import Pool, Session, session
from emsd.store.reads import snapshot
from emsd.store.retention import read_horizons

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
_METERS_PER_READ: Final = 10
"""Meters whose quarter hours are in memory at once: a year of one takes 11 MB on its way from the database."""
_LARGEST_SHARE: Final = 0.3
"""Share of the time that a ledger of many meters may take, beside polls, while it is read."""
_SITES: Final = "SELECT site_id FROM site ORDER BY site_id"

_MONTH_FIGURES: Final = (
    "grid_import_kwh", "pv_used_kwh", "load_kwh", "coverage", "estimated_share", "scope1_kg", "location_kg",
    "location_coverage", "market_kg", "completeness", "estimated_import_kwh", "estimated_location_kg",
    "estimated_market_kg", "certificate_kwh", "contract_kwh", "avoided_kg", "self_consumption",
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
        LedgerRefused: the period has not begun, or some of its quarter hours have been dropped.
        StoreUnavailable: the database cannot be reached now.
    """
    async with snapshot(pool, "read the carbon ledger") as connection:
        plant = await plant_view_of(connection, site_id)
        edges_us = _edges(plant, first_day, end_day, now)
        from_, to = datetime_from_us(int(edges_us[0])), datetime_from_us(int(edges_us[-1]))
        await _require_kept(connection, plant, from_)
        settings = await read_carbon_settings(connection, site_id)
        site = _site(plant, settings)
        parts = LedgerParts(
            site=site,
            gwp_set=settings.gwp_set,
            matching=settings.matching,
            edges_us=edges_us,
            factors={
                each: await read_factor_timeline(connection, _region(site, each), each, from_, to) for each in _METHODS
            },
            instruments=await read_instruments(connection, site_id, from_, to),
            activities=await read_activities(connection, site_id, from_, to),
        )
        frame = await asyncio.to_thread(frame_of, parts)
        sums = sums_of(parts, frame)
        meters = await _meters(connection, await read_counted_meters(connection, plant, from_, to), edges_us, sums)
    try:
        return await asyncio.to_thread(build_inputs, parts, frame, sums, meters)
    except ValueError as error:
        raise StoreError(f"the carbon ledger cannot be computed: {error}") from error


async def refresh_months(pool: Pool, site_id: int, year: int, *, now: datetime) -> LedgerResults:
    """Compute the ledger of a local year, up to now, and keep its months for Grafana.

    A month of which quarter hours have been dropped stays as it was.

    Raises:
        StoreError: see `read_ledger_inputs`.
        LedgerRefused: the year has not begun, or nothing of it is kept.
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "keep the months of the carbon ledger") as connection:
        kept_from = await _first_kept_month(connection, await plant_view_of(connection, site_id))
    first_day = date(year, 1, 1) if kept_from is None else max(date(year, 1, 1), kept_from)
    inputs = await read_ledger_inputs(pool, site_id, first_day, date(year + 1, 1, 1), now=now)
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


async def _first_kept_month(connection: Session, plant: PlantView) -> date | None:
    """Return the first day of the first local month whose quarter hours are all there; None: none were ever dropped."""
    kept_from = (await read_horizons(connection)).quarters
    if kept_from is None:
        return None
    day = kept_from.astimezone(plant.zone).date()
    begins = local_day_bounds(day.replace(day=1), plant.zone)[0]
    return day if begins == kept_from else date(day.year + day.month // 12, day.month % 12 + 1, 1)


async def _require_kept(connection: Session, plant: PlantView, from_: datetime) -> None:
    kept_from = (await read_horizons(connection)).quarters
    if kept_from is not None and from_ < kept_from:
        raise LedgerRefused(
            f"quarter hours before {kept_from.astimezone(plant.zone).isoformat()} have been dropped"
            " (EMSD_RETENTION_15M_DAYS), so a ledger cannot begin earlier; statements of that time stay as they are"
        )


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
    connection: Session, counted: Sequence[CountedMeter], edges_us: TimeArray, sums: Mapping[MeterRole, ColumnSums]
) -> list[MeterColumn]:
    """Add every meter to the sums of its role, some at a time: a year of all of them can be more than memory holds."""
    bounds = datetime_from_us(int(edges_us[0])), datetime_from_us(int(edges_us[-1]))
    turns = Turns(_LARGEST_SHARE)
    columns: list[MeterColumn] = []
    for first in range(0, len(counted), _METERS_PER_READ):
        part = counted[first : first + _METERS_PER_READ]
        ids = sorted({each.meter_id for each in part})
        async with turns:
            energy = await read_best_energy(connection, ids, "15m", edges_us)
            computed = {row["meter_id"]: row for row in await connection.fetch(_COMPUTED, ids, *bounds)}
            found = [_meter(each, energy[each.meter_id], computed.get(each.meter_id)) for each in part]
            columns += await asyncio.to_thread(lambda meters: [sums[each.role].add(each) for each in meters], found)
    return columns


def _meter(counted: CountedMeter, series: EnergySeries, computed: asyncpg.Record | None) -> MeterEnergy:
    return MeterEnergy(
        meter_id=counted.meter_id,
        key=counted.key,
        role=counted.role,
        import_kwh=series.import_kwh,
        export_kwh=series.export_kwh,
        estimated_import_kwh=series.estimated_import_kwh,
        estimated_export_kwh=series.estimated_export_kwh,
        coverage=series.coverage,
        counted=counted.counted(series.edges_us),
        computed_at=None if computed is None else computed["computed_at"],
        versions=() if computed is None else tuple(computed["versions"] or ()),
    )


def _float(value: object) -> float | None:
    return None if value is None else float(str(value))
