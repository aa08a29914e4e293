"""A plant of a thousand energy meters as a factory has them, and a month of its intervals in a real database.

One incomer; areas of 50 to 100 meters, all below it. Every other area has a feeder meter that the others hang on, so
that the area is one meter's energy; in the rest the meters hang on the incomer side by side, so that the area is the
sum of all of them. Eight PV inverters feed into the incomer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from emsd.energy.windows import local_day_bounds
from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.plant.models import Area, Asset, AssetKind, CarbonFactorEntry, Meter, Plant, Site
from emsd.store.plant import sync_plant
from emsd.store.pool import Pool, open_pool
from simulator.fleet import fleet_profile

__all__ = ["EnergyPlant", "fill", "flatten"]

_INVERTERS: Final = 8
_AREA_METERS: Final = (100, 80, 90, 60, 50, 70)
"""How many meters the areas of a plant with 1,000 of them have, over and over."""


@dataclass(frozen=True, slots=True)
class EnergyPlant:
    """Keys of what is asked for."""

    fed_area: str
    """An area whose feeder meter has all of its energy."""
    flat_area: str
    """An area without a feeder meter: every kilowatt-hour is a sum over all of its meters."""
    one_meter: str


def _energy_plant(meters: int) -> Plant:
    areas = [Area(key="substation", name="Substation"), Area(key="roof", name="Roof")]
    assets = [Asset(key="incomer", name="Incomer", kind=AssetKind.INCOMER, area="substation", rated_power_kw=50_000)]
    listed = [_meter("incomer", "incomer", None)]
    inverters = min(_INVERTERS, meters // 10)
    for number in range(inverters):
        key = f"pv-{number}"
        assets.append(Asset(key=key, name=key, kind=AssetKind.PV_INVERTER, area="roof", rated_power_kw=500))
        listed.append(_meter(key, key, "incomer"))
    number = 0
    while len(listed) < meters:
        area, usual = f"hall-{number}", _AREA_METERS[number % len(_AREA_METERS)]
        count = min(max(2, usual * meters // 1000), meters - len(listed))
        areas.append(Area(key=area, name=area, stage=f"stage-{number % 4}"))
        assets.append(Asset(key=area, name=area, kind=AssetKind.PROCESS_TOOL, area=area, rated_power_kw=5_000))
        feeder = f"{area}-meter-0" if number % 2 else "incomer"
        listed += [_meter(f"{area}-meter-{place}", area, feeder if place else "incomer") for place in range(count)]
        number += 1
    return Plant(
        site=Site(name="A thousand meters", time_zone="Asia/Shanghai", carbon_region="CN"),
        carbon_factors=(
            CarbonFactorEntry(region="CN", valid_from=datetime(2020, 1, 1).date(), kg_per_kwh=0.53, source="made up"),  # noqa: DTZ001
        ),
        areas=tuple(areas),
        assets=tuple(assets),
        connections=(ModbusTcpConnection(key="nowhere", host="127.0.0.1", port=1),),
        meters=tuple(listed),
    )


def _meter(key: str, asset: str, parent: str | None) -> Meter:
    return Meter(key=key, name=key, asset=asset, profile="fleet_meter", connection="nowhere", unit_id=1, parent=parent)


_FILL: Final = """
INSERT INTO {table} (bucket, meter_id, energy_import_kwh, energy_export_kwh, power_min_kw, power_avg_kw, power_max_kw,
                     coverage, sample_count)
SELECT bucket, meter_id, meter_id % 100 * {hours}, 0, meter_id % 100 - 1, meter_id % 100, meter_id % 100 + 1, 1, 60
FROM generate_series($2::timestamptz, $3::timestamptz - $4::interval, $4::interval) AS bucket,
     unnest($1::integer[]) AS meter_id
ORDER BY bucket, meter_id
"""
_FILL_DAYS: Final = """
INSERT INTO interval_1d (day, bucket, meter_id, energy_import_kwh, energy_export_kwh, coverage, sample_count)
SELECT day, from_time, meter_id, meter_id % 100 * 24, 0, 1, 86400
FROM unnest($2::date[], $3::timestamptz[]) AS local (day, from_time), unnest($1::integer[]) AS meter_id
"""


async def fill(pool: Pool, meters: int, days: int, now: datetime) -> EnergyPlant:
    """Write the plant and its intervals up to `now`: `days` of quarter hours and local days, minutes of the last day.

    Minutes are also there around the instant a week ago, where the window of 7 days begins.
    """
    plant = _energy_plant(meters)
    meter_ids = await sync_plant(pool, plant, {"fleet_meter": fleet_profile()})
    ids = list(meter_ids.values())
    quarter = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    first = quarter - timedelta(days=days)
    async with pool.acquire() as connection:
        quarters = _FILL.format(table="interval_15m", hours=0.25)
        await connection.execute(quarters, ids, first, quarter, timedelta(minutes=15), timeout=600)
        minutes = _FILL.format(table="interval_1m", hours=1 / 60)
        week_ago = quarter - timedelta(days=7)
        if week_ago > first:
            await connection.execute(minutes, ids, week_ago - hour, week_ago + hour, minute, timeout=600)
        await connection.execute(minutes, ids, quarter - timedelta(hours=26), _full(now), minute, timeout=600)
        zone = plant.site.zone
        today = now.astimezone(zone).date()
        past = [today - timedelta(days=number) for number in range(days - 1, 0, -1)]
        await connection.execute(_FILL_DAYS, ids, past, [local_day_bounds(day, zone)[0] for day in past], timeout=600)
        # What autovacuum does for tables that grow over a month.
        for table in ("interval_1m", "interval_15m", "interval_1d"):
            await connection.execute(f"VACUUM (ANALYZE) {table}", timeout=600)
    return EnergyPlant(fed_area="hall-1", flat_area="hall-0", one_meter="hall-0-meter-1")


async def flatten(database_url: str) -> None:
    """Take every meter from its parent: a plant without a meter of the whole, the hardest to add up."""
    async with open_pool(database_url) as pool:
        await pool.execute("UPDATE meter SET parent_meter_id = NULL")


def _full(instant: datetime) -> datetime:
    return instant.replace(second=0, microsecond=0)
