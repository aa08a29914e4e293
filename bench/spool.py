"""Readings a second into the spool and out of it, against bare SQLite with the same bytes.

A reading has 14 values, of 1,000 meters; a batch has 5,000 readings. Values are those of 32-bit registers, as meters
send them. Both sides commit each batch to the disk (WAL, synchronous=FULL). The bare side inserts and selects what ours
has encoded before the clock started; ours starts from `Reading` objects and ends with them:

    save    Spool.save: encode, compress, backlog, manifest, both synced
    drain   Spool.take and Spool.forget: read, check, decode, delete; bare: select, delete
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

import numpy as np

from bench.result import Report, Row, compared
from bench.world import Size, World
from emsd.ingest.spool import open_spool
from emsd.ingest.spool_codec import encode
from emsd.readings import Reading, columns

__all__ = ["run"]

_NAMES: Final = (
    "active_power_kw", "reactive_power_kvar", "apparent_power_kva", "power_factor", "frequency_hz",
    "voltage_l1_n_v", "voltage_l2_n_v", "voltage_l3_n_v", "current_l1_a", "current_l2_a", "current_l3_a",
    "current_n_a", "energy_import_kwh", "energy_export_kwh",
)  # fmt: skip
_BATCH_ROWS: Final = 5_000
_METERS: Final = 1_000
_BEGIN_US: Final = 1_774_785_600_000_000
_SIZES: Final = {Size.FULL: (9, 40), Size.QUICK: (5, 15), Size.SMOKE: (1, 2)}
"""Rounds, and batches of each side in a round."""
_LEAST_PER_S: Final = 50_000.0


async def run(world: World) -> Report:
    """Measure in turns; the order changes from round to round."""
    rounds, batches = _SIZES[world.size]
    saves: list[tuple[float, float]] = []
    drains: list[tuple[float, float]] = []
    readings = [_batch(number) for number in range(batches)]
    encoded = [encode(batch) for batch in readings]
    rows = batches * _BATCH_ROWS
    for number in range(rounds):
        world.say("spool", f"round {number + 1} of {rounds}")
        folder = world.folder / f"spool-{number}"
        folder.mkdir()
        if number % 2:
            bare = await asyncio.to_thread(_bare, folder / "bare.sqlite", encoded)
            ours = await _ours(folder / "spool", readings)
        else:
            ours = await _ours(folder / "spool", readings)
            bare = await asyncio.to_thread(_bare, folder / "bare.sqlite", encoded)
        saves.append((rows / ours[0], rows / bare[0]))
        drains.append((rows / ours[1], rows / bare[1]))
    size = sum(map(len, encoded)) / rows
    return Report(
        [
            _at_least(compared("spool", "saved on disk, 14 values a reading", "readings/s", saves), _LEAST_PER_S),
            compared("spool", "drained from disk", "readings/s", drains),
        ],
        [f"spool: a reading of 14 values takes {size:.0f} bytes on disk"],
    )


def _batch(number: int) -> list[Reading]:
    noise = Random(number)
    names = columns(*_NAMES)
    return [
        Reading(
            _BEGIN_US + (number * 5 + place // _METERS) * 1_000_000 + place % _METERS * 997,
            1 + place % _METERS,
            names,
            tuple(float(np.float32(noise.gauss(100.0, 3.0))) for _ in _NAMES),
        )
        for place in range(_BATCH_ROWS)
    ]


async def _ours(folder: Path, batches: Sequence[Sequence[Reading]]) -> tuple[float, float]:
    async with open_spool(folder, min_free_bytes=0) as spool:
        began = time.perf_counter()
        for batch in batches:
            await spool.save(batch)
        saved = time.perf_counter()
        drained = 0
        while (taken := await spool.take(_BATCH_ROWS)).batch_ids:
            await spool.forget(taken.batch_ids)
            drained += len(taken.readings)
        ended = time.perf_counter()
    assert drained == sum(map(len, batches))
    return saved - began, ended - saved


def _bare(file: Path, payloads: Sequence[bytes]) -> tuple[float, float]:
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE batch (batch_id INTEGER PRIMARY KEY, payload BLOB NOT NULL)")
        began = time.perf_counter()
        for payload in payloads:
            connection.execute("INSERT INTO batch (payload) VALUES (?)", (payload,))
        saved = time.perf_counter()
        for number in range(1, len(payloads) + 1):
            connection.execute("SELECT payload FROM batch WHERE batch_id = ?", (number,)).fetchone()
            connection.execute("DELETE FROM batch WHERE batch_id = ?", (number,))
        ended = time.perf_counter()
    finally:
        connection.close()
    return saved - began, ended - saved


def _at_least(row: Row, per_s: float) -> Row:
    return replace(row, target=f">= {per_s:,.0f} {row.unit}", met=row.emsd.median >= per_s)
