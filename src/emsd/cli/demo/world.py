"""Everything that the service meets in the demo: servers, a plant that listens on free ports, a day of its history."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from emsd.accounting import PlantAccounting
from emsd.plant.loader import LoadedPlant, load_plant
from emsd.plant.models import Plant
from emsd.plant.mqtt_connection import BrokerConnection
from emsd.readings import instant_us
from emsd.store.migrations import migrate
from emsd.store.plant import sync_plant
from emsd.store.pool import Pool
from emsd.store.production_counts import NewCount, add_counts
from emsd.store.readings import ReadingWriter
from simulator import Disturbance, SimulatedPlant, history
from simulator.truth import month_start

__all__ = [
    "ONCALL_VARIABLE",
    "DemoPlant",
    "Report",
    "free_port",
    "load_demo_plant",
    "load_history",
    "open_door",
    "prepare_database",
    "write_plant",
]

Report = Callable[[str, float | None], None]
"""Called with what is being done and its share done [0..1], None while that is not known."""

ONCALL_VARIABLE: Final = "EMSD_ONCALL_URL"
_HISTORY_STEP_S: Final = 10
_PROCESSED_M2: Final = 900.0
"""Of each product at each stage in a day."""
_GOOD_SHARE: Final = 0.95
_DOOR_METER: Final = "cleanroom-climate"
_DOOR_OPENS_AFTER_S: Final = 6.0
_DOOR_OPEN_S: Final = 28.0
_PRESSURE_WITH_OPEN_DOOR_PA: Final = 6.0


@dataclass(frozen=True, slots=True)
class DemoPlant:
    """The plant, its day of history, and when the counters of its simulated meters began.

    The history's readings lie on full 10 s from `history_from` to `history_to`, both included, so that every minute of
    it begins with a reading: what is compared from such a minute on owes nothing to readings before it.
    """

    loaded: LoadedPlant
    anchor: datetime
    history_from: datetime
    history_to: datetime

    @property
    def compared_from(self) -> datetime:
        """The last minute that begins with a reading of the history."""
        return self.history_to.replace(second=0, microsecond=0)

    def at_broker(self, port: int) -> DemoPlant:
        """Return the same with every MQTT connection at the private broker on `port`."""
        connections = tuple(
            each.model_copy(update={"host": "127.0.0.1", "port": port, "username": None, "password": None})
            if isinstance(each, BrokerConnection)
            else each
            for each in self.loaded.plant.connections
        )
        plant = self.loaded.plant.model_copy(update={"connections": connections})
        return replace(self, loaded=replace(self.loaded, plant=plant))


def load_demo_plant(path: Path, *, oncall_url: str, now: datetime) -> DemoPlant:
    """Load the plant with the demo's webhook as on-call target; counters begin before its history does.

    Raises:
        PlantError: the description is wrong.
    """
    loaded = load_plant(path, environ={**os.environ, ONCALL_VARIABLE: oncall_url})
    to = now.replace(second=now.second - now.second % _HISTORY_STEP_S, microsecond=0)
    from_ = to - timedelta(days=1)
    return DemoPlant(loaded, month_start(from_), from_, to)


def write_plant(plant: Plant, loaded: LoadedPlant, path: Path) -> None:
    """Write the plant for the service; the on-call URL stays a variable, so no secret is in the file."""
    document: dict[str, Any] = plant.model_dump(mode="json", exclude_none=True)
    document["meters_csv"] = []
    if "production" in document:
        document["production"]["products_csv"] = []
    document["profile_folders"] = [str((loaded.path.parent / each).resolve()) for each in plant.profile_folders]
    for target in document["notification_targets"]:
        target["url"] = f"${{{ONCALL_VARIABLE}}}"
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def open_door(plant: Plant, now_us: int) -> list[Disturbance]:
    """Return what raises an alarm: the cleanroom's door stands open for a while."""
    if _DOOR_METER not in {meter.key for meter in plant.meters}:
        return []
    start_us = now_us + int(_DOOR_OPENS_AFTER_S * 1e6)
    return [Disturbance(_DOOR_METER, "room_pressure_pa", start_us, _DOOR_OPEN_S, _PRESSURE_WITH_OPEN_DOOR_PA)]


async def prepare_database(database_url: str, pool: Pool, loaded: LoadedPlant) -> dict[str, int]:
    """Migrate, mirror the plant, and return meter key -> meter_id."""
    await migrate(database_url)
    return await sync_plant(pool, loaded.plant, loaded.profiles)


async def load_history(
    pool: Pool,
    demo: DemoPlant,
    meter_ids: Mapping[str, int],
    *,
    seed: int,
    report: Report,
) -> int:
    """Write what the meters would have said, then account for it; return how many readings."""
    truth = SimulatedPlant(demo.loaded.plant, demo.loaded.profiles, seed, anchor=demo.anchor)
    from_us, to_us = instant_us(demo.history_from), instant_us(demo.history_to) + 1
    total = len(meter_ids) * (to_us - from_us) / (_HISTORY_STEP_S * 1e6)
    written = 0
    async with ReadingWriter(pool) as writer:
        for batch in history(truth, meter_ids, from_us, to_us, _HISTORY_STEP_S):
            await writer.write(batch)
            written += len(batch)
            report("A day of readings", min(1.0, written / total))
    await _count_production(pool, demo)
    accounting = PlantAccounting(pool, demo.loaded, meter_ids)
    report("Its intervals", None)
    await accounting.run_until_clean()
    return written


async def _count_production(pool: Pool, demo: DemoPlant) -> None:
    """Write what a day of the line would have made, so that its footprint can be looked at."""
    plant = demo.loaded.plant
    counts = [
        NewCount(
            external_id=f"demo-{product.key}-{stage}",
            product=product.key,
            from_time=demo.history_from,
            to_time=demo.history_to,
            units=round(_PROCESSED_M2 / product.area_m2),
            good_units=round(_GOOD_SHARE * _PROCESSED_M2 / product.area_m2),
            stage=stage,
            note="invented for the demo",
        )
        for product in (plant.production.products if plant.production else ())
        for stage in product.passes
    ]
    await add_counts(pool, plant.site.number, counts, author="demo")


def free_port(preferred: int) -> int:
    """Return `preferred` if nobody listens on it at the loopback address, else a free port.

    Raises:
        OSError: there is none.
    """
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("the loopback address has no free port")
