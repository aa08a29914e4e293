"""Quarantined messages run through today's mappings, and stored where these accept them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from collectors.mqtt.replay import read_again
from emsd.collector import BoundMeter
from emsd.errors import BadPayload
from emsd.plant.mqtt_connection import MqttConnection
from emsd.readings import Reading, instant_us
from emsd.store.plant import load_meters
from emsd.store.quarantine import QuarantineRow, resolve_poison
from emsd.store.readings import ReadingWriter

if TYPE_CHECKING:
    from emsd.plant.loader import LoadedPlant
    from emsd.store.pool import Pool

__all__ = ["Outcome", "Replayed", "bound_meters", "replay"]


class Outcome(StrEnum):
    """What became of a row."""

    STORED = "stored"
    MERGED = "merged"
    """Its meter has a reading of that instant; what that lacked was added."""
    REFUSED = "refused"
    SKIPPED = "skipped"
    """Something was decided on it before."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one row, and why."""

    row: QuarantineRow
    outcome: Outcome
    reading: Reading | None
    why: str


async def bound_meters(pool: Pool, loaded: LoadedPlant) -> dict[int, BoundMeter]:
    """Return the plant's meters on MQTT connections by their numbers in the database.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    numbers = {row.key: row.meter_id for row in await load_meters(pool, loaded.plant.site.number)}
    bound = {}
    for meter in loaded.plant.meters:
        if meter.key in numbers and isinstance(loaded.connections_by_key[meter.connection], MqttConnection):
            rated = meter.model_copy(update={"rated_power_kw": loaded.rated_power_kw(meter)})
            bound[numbers[meter.key]] = BoundMeter(numbers[meter.key], rated, loaded.profile_of(meter))
    return bound


async def replay(
    pool: Pool, rows: Iterable[QuarantineRow], meters: Mapping[int, BoundMeter], by: str
) -> AsyncIterator[Replayed]:
    """Yield what becomes of each row, one after the other.

    A reading is committed before its row is marked: a crash between the two makes the same reading once more, which is
    no second row.

    Raises:
        StoreUnavailable: the database cannot be reached now; what was yielded is done.
    """
    async with ReadingWriter(pool) as writer:
        for row in rows:
            if row.outcome is not None:
                yield Replayed(row, Outcome.SKIPPED, None, f"{row.outcome} by {row.resolved_by}")
                continue
            understood = _reading(row, meters)
            if isinstance(understood, str):
                yield Replayed(row, Outcome.REFUSED, None, understood)
                continue
            result = await writer.write([understood])
            if result.quarantined:
                yield Replayed(row, Outcome.REFUSED, understood, "the database refuses the reading; see the newest row")
                continue
            await resolve_poison(pool, row.quarantine_id, by)
            if result.merged:
                why = "a reading of that instant was there; what it lacked was added"
                yield Replayed(row, Outcome.MERGED, understood, why)
            else:
                yield Replayed(row, Outcome.STORED, understood, "a new reading")


def _reading(row: QuarantineRow, meters: Mapping[int, BoundMeter]) -> Reading | str:
    """Return the reading of a row, or why it has none."""
    if row.meter_id is None or row.topic is None:
        return "it is no MQTT message of a meter"
    if not row.is_whole:
        return f"only {len(row.payload):,} of its {row.payload_bytes:,} bytes were kept"
    meter = meters.get(row.meter_id)
    if meter is None:
        return f"meter {row.meter_key or row.meter_id} is not on an MQTT connection of this plant"
    try:
        return read_again(meter, row.topic, row.payload, instant_us(row.received_at))
    except (BadPayload, ValueError) as error:
        return str(error)
