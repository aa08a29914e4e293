"""Virtual and derived meters in the database, and how far the past of virtual ones is computed.

A virtual meter is a row of `meter` like any other, with its expression in `virtual_meter` and, multiplied out, in
`virtual_meter_input`. A derived meter stands beside each energy meter (see `emsd.plant.derived`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from emsd.energy.expressions import MissingPolicy
from emsd.plant.derived import AnyMeter, all_meters, derived_key, derived_meter_id, energy_meters
from emsd.plant.expression import factors_of
from emsd.plant.models import Plant
from emsd.plant.profile import Profile
from emsd.plant.virtual_meters import VirtualMeter
from emsd.readings import instant_us, to_datetime
from emsd.store.pool import Pool, Session, session

__all__ = [
    "VirtualRow",
    "oldest_minute_us",
    "read_virtual_meters",
    "set_pending",
    "sync_virtual_meters",
    "virtual_meter_ids",
]

_UPSERT: Final = """
INSERT INTO meter (meter_id, site_id, key, name, profile, connection, address, measures_energy, poll_interval_s,
    rated_power_kw, max_gap_s, kind, counts, asset_id)
SELECT $1, $2, $3, $4, 'virtual', '', $5, true, 60, asset.rated_power_kw, 300, 'virtual', $6, asset.asset_id
FROM asset WHERE asset.site_id = $2 AND asset.key = $7
ON CONFLICT (site_id, key) DO UPDATE SET name = excluded.name, profile = excluded.profile,
    connection = excluded.connection, address = excluded.address, measures_energy = excluded.measures_energy,
    poll_interval_s = excluded.poll_interval_s, rated_power_kw = excluded.rated_power_kw,
    max_gap_s = excluded.max_gap_s, kind = excluded.kind, counts = excluded.counts, asset_id = excluded.asset_id,
    removed_at = NULL"""
# What was away, or somebody's meter, has minutes that its expression did not make.
_WAS_NO_VIRTUAL: Final = """
SELECT meter_id FROM meter WHERE meter_id = ANY($1::integer[]) AND (removed_at IS NOT NULL OR kind <> 'virtual')"""
_SET_DEVICES: Final = """
UPDATE meter SET kind = 'device', counts = true WHERE meter_id = ANY($1::integer[]) AND kind <> 'device'"""
_SET_PARENT: Final = "UPDATE meter SET parent_meter_id = $2 WHERE meter_id = $1"
_SET_RESIDUAL: Final = """
UPDATE meter SET residual_kind = $2, residual_low_percent = $3, residual_high_percent = $4, residual_low_kw = $5,
    residual_high_kw = $6
WHERE meter_id = $1"""

_KNOWN_EXPRESSIONS: Final = """
SELECT virtual_meter.meter_id, missing,
    array_agg(input_meter_id ORDER BY input_meter_id) AS inputs, array_agg(factor ORDER BY input_meter_id) AS factors
FROM virtual_meter JOIN virtual_meter_input USING (meter_id)
WHERE virtual_meter.meter_id = ANY($1::integer[])
GROUP BY virtual_meter.meter_id"""
# An hour ahead: a pass that is under way may still write a minute by the old expression.
_UPSERT_EXPRESSION: Final = """
INSERT INTO virtual_meter (meter_id, expression, missing, pending_before)
VALUES ($1, $2, $3, date_trunc('minute', now()) + INTERVAL '1 hour')
ON CONFLICT (meter_id) DO UPDATE SET expression = excluded.expression, missing = excluded.missing,
    pending_before = excluded.pending_before"""
_SET_TEXT: Final = "UPDATE virtual_meter SET expression = $2 WHERE meter_id = $1"

_UPSERT_DERIVED: Final = """
INSERT INTO meter (meter_id, site_id, key, name, profile, connection, address, measures_energy, poll_interval_s,
    max_gap_s, kind, counts, derived_from, asset_id)
SELECT wanted.meter_id, source.site_id, wanted.key, source.name || ' (derived)', 'derived', '', '', false, 60, 300,
    'derived', false, source.meter_id, source.asset_id
FROM unnest($1::integer[], $2::text[], $3::integer[]) AS wanted (meter_id, key, source_id)
JOIN meter AS source ON source.meter_id = wanted.source_id
ON CONFLICT (meter_id) DO UPDATE SET key = excluded.key, name = excluded.name, asset_id = excluded.asset_id,
    removed_at = NULL"""
_REMOVE_DERIVED: Final = """
UPDATE meter SET removed_at = now()
WHERE site_id = $1 AND kind = 'derived' AND removed_at IS NULL AND meter_id <> ALL($2::integer[])"""


async def sync_virtual_meters(
    connection: Session, plant: Plant, profiles: Mapping[str, Profile], ids: Mapping[str, int]
) -> None:
    """Mirror virtual meters, residuals and derived meters; `ids` holds the number of every meter, virtual ones too.

    A virtual meter whose expression is new or has changed is computed again, back to its oldest minute.
    """
    site_id = plant.site.number
    virtual = plant.virtual_meters
    back = {row["meter_id"] for row in await connection.fetch(_WAS_NO_VIRTUAL, [ids[each.key] for each in virtual])}
    await connection.executemany(
        _UPSERT,
        [(ids[each.key], site_id, each.key, each.name, each.expression, each.counts, each.asset) for each in virtual],
    )
    await connection.execute(_SET_DEVICES, [ids[meter.key] for meter in plant.meters])
    # All rows exist now, so that a meter may hang below any other.
    await connection.executemany(
        _SET_PARENT,
        [(ids[each.key], None if each.parent is None else ids[each.parent]) for each in all_meters(plant)],
    )
    await connection.executemany(_SET_RESIDUAL, [(ids[each.key], *_residual(each)) for each in all_meters(plant)])
    await _sync_expressions(connection, virtual, ids, back)
    sources = [(ids[each.key], each.key) for each in energy_meters(plant.meters, virtual, profiles)]
    numbers = [derived_meter_id(number) for number, _ in sources]
    keys = [derived_key(key) for _, key in sources]
    await connection.execute(_UPSERT_DERIVED, numbers, keys, [number for number, _ in sources])
    await connection.execute(_REMOVE_DERIVED, site_id, numbers)


async def virtual_meter_ids(pool: Pool, site_id: int) -> dict[str, int]:
    """Return the number of every virtual meter of a site by its key.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "read the virtual meters") as connection:
        rows = await connection.fetch(
            "SELECT key, meter_id FROM meter WHERE site_id = $1 AND kind = 'virtual' AND removed_at IS NULL", site_id
        )
    return {row["key"]: row["meter_id"] for row in rows}


def _residual(meter: AnyMeter) -> tuple[str | float | None, ...]:
    residual = meter.residual
    if residual is None:
        return None, None, None, None, None
    percent, power = residual.band_percent or (None, None), residual.band_kw or (None, None)
    return residual.kind, *percent, *power


async def _sync_expressions(
    connection: Session, virtual: Sequence[VirtualMeter], ids: Mapping[str, int], back: Collection[int]
) -> None:
    rows = await connection.fetch(_KNOWN_EXPRESSIONS, [ids[each.key] for each in virtual])
    known = {row["meter_id"]: (row["missing"], dict(zip(row["inputs"], row["factors"], strict=True))) for row in rows}
    for each in virtual:
        meter_id = ids[each.key]
        factors = {ids[key]: factor for key, factor in factors_of(each.expression).items()}
        if meter_id not in back and known.get(meter_id) == (each.missing, factors):
            # Written in another way it says the same, and nothing has to be computed again.
            await connection.execute(_SET_TEXT, meter_id, each.expression)
            continue
        await connection.execute(_UPSERT_EXPRESSION, meter_id, each.expression, each.missing)
        await connection.execute("DELETE FROM virtual_meter_input WHERE meter_id = $1", meter_id)
        await connection.executemany(
            "INSERT INTO virtual_meter_input (meter_id, input_meter_id, factor) VALUES ($1, $2, $3)",
            [(meter_id, source, factor) for source, factor in factors.items()],
        )


@dataclass(frozen=True, slots=True, eq=False)
class VirtualRow:
    """One virtual meter: its inputs with their factors, and the instant before which it is not computed yet."""

    meter_id: int
    factors: Mapping[int, float]
    missing: MissingPolicy
    pending_before: datetime | None


_READ_VIRTUAL: Final = """
SELECT virtual_meter.meter_id, missing, pending_before,
    array_agg(input_meter_id) AS inputs, array_agg(factor) AS factors
FROM virtual_meter JOIN virtual_meter_input USING (meter_id) JOIN meter ON meter.meter_id = virtual_meter.meter_id
WHERE meter.removed_at IS NULL AND meter.kind = 'virtual'
GROUP BY virtual_meter.meter_id ORDER BY virtual_meter.meter_id"""


async def read_virtual_meters(connection: Session) -> list[VirtualRow]:
    """Return the virtual meters that are configured now, in order of their numbers."""
    rows = await connection.fetch(_READ_VIRTUAL)
    return [
        VirtualRow(
            row["meter_id"],
            dict(zip(row["inputs"], row["factors"], strict=True)),
            row["missing"],
            row["pending_before"],
        )
        for row in rows
    ]


_OLDEST: Final = """
SELECT min(first.bucket) FROM unnest($1::integer[]) AS wanted (meter_id)
CROSS JOIN LATERAL (
    SELECT bucket FROM interval_1m WHERE meter_id = wanted.meter_id ORDER BY bucket LIMIT 1
) AS first"""


async def oldest_minute_us(connection: Session, meter_ids: Sequence[int]) -> int | None:
    """Return the begin of the oldest minute of any of these meters [us], None when there is none."""
    oldest = await connection.fetchval(_OLDEST, list(meter_ids))
    return None if oldest is None else instant_us(oldest)


async def set_pending(connection: Session, meter_id: int, before_us: int | None) -> None:
    """Write down before which instant a virtual meter is not computed yet; None: nowhere."""
    await connection.execute(
        "UPDATE virtual_meter SET pending_before = $2 WHERE meter_id = $1",
        meter_id,
        None if before_us is None else to_datetime(before_us),
    )
