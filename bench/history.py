"""A year of the example plant that never was, written straight into the database, and where its seconds go.

The plant's physics is asked once a minute of the year for what energy and key figures are made of, accounted for as
readings would be, and copied into the tiers of quarter hours and days. `physics` is the time in which the simulator
says what meters showed.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from bench.result import Report, single
from bench.world import Size, World
from emsd.accounting.history import Wish, write_history
from emsd.energy.series import FloatArray, TimeArray
from emsd.plant.loader import load_plant
from emsd.readings import instant_us
from emsd.store.plant import sync_plant
from emsd.store.pool import open_pool
from simulator import SimulatedPlant
from simulator.history import readable_series

__all__ = ["run"]

_PLANT: Final = Path(__file__).resolve().parents[1] / "config" / "plant.example.yaml"
_DAYS: Final = {Size.FULL: 365, Size.QUICK: 60, Size.SMOKE: 2}
_LONGEST_S: Final = 60.0
_END: Final = datetime(2026, 1, 1, tzinfo=UTC)


async def run(world: World) -> Report:
    """Write the history into a database of its own, and time it."""
    days = _DAYS[world.size]
    loaded = load_plant(_PLANT, environ={})
    begin = _END - timedelta(days=days)
    physics = SimulatedPlant(loaded.plant, loaded.profiles, 1, anchor=begin - timedelta(days=1))
    physics_s = 0.0

    def shown(key: str, times_us: TimeArray, wanted: Collection[str]) -> Mapping[str, FloatArray]:
        nonlocal physics_s
        began_s = time.perf_counter()
        found = readable_series(physics, key, times_us, wanted)
        physics_s += time.perf_counter() - began_s
        return found

    async with world.database() as url, open_pool(url, max_size=2, command_timeout_s=300) as pool:
        meter_ids = await sync_plant(pool, loaded.plant, loaded.profiles)
        wish = Wish(loaded, meter_ids, instant_us(begin), instant_us(_END), shown=shown, seed=1, author="bench")
        world.say("history", f"writing {days} days")
        began_s = time.perf_counter()
        written = await write_history(pool, wish, lambda _: None)
        took_s = time.perf_counter() - began_s
    a_year_s = took_s * 365 / days
    rows = written.quarter_hours + written.gauge_quarters + written.asset_quarters
    is_judged = world.size is Size.FULL
    return Report(
        [
            single(
                "history",
                f"{days} days",
                "s",
                took_s,
                target=f"<= {_LONGEST_S:g} s a year" if is_judged else "",
                met=a_year_s <= _LONGEST_S if is_judged else None,
            ),
            single("history", "physics alone", "s", physics_s),
            single("history", "quarter hours", "rows/s", rows / took_s),
        ],
        [f"{written.quarter_hours:,} quarter hours of energy, {written.days:,} local days"],
    )
