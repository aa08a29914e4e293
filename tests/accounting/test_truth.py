"""The simulator's truth against the ledger, under each fault of a counter: exact, or flagged; never silently wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from emsd.accounting import Accounting, MeterAccount, accounts_of
from emsd.collector import DeviceIdentity
from emsd.energy.events import CounterPair, EventKind, MeterEvent
from emsd.energy.series import FloatArray, IncrementFlag, TimeArray
from emsd.plant.loader import LoadedPlant, load_plant
from emsd.readings import Reading, instant_us, reading_of, to_datetime
from emsd.store.identity import _Seen as Seen
from emsd.store.identity import _store as store_identities
from emsd.store.meter_events import add_event
from emsd.store.pool import Pool, open_pool
from emsd.store.readings import ReadingWriter
from simulator import SimulatedPlant
from simulator.history import readable_series

REPOSITORY: Final = Path(__file__).resolve().parents[2]
METER_KEY: Final = "cleanroom-feeder"
BEGIN_US: Final = instant_us(datetime(2026, 6, 3, 5, 0, tzinfo=UTC))
HOUR_US: Final = 3_600_000_000
STEP_US: Final = 30_000_000
END_US: Final = BEGIN_US + 24 * HOUR_US
NOON_US: Final = BEGIN_US + 12 * HOUR_US + 11_000_000
"""When things happen: between two polls."""
PASSES_AT: Final = (0, 700, 1400, 1480, 1530, 2200, 2900, 6000)
"""After how many readings of each meter accounting looks: also while a clock is wrong, and right after it."""
NOW: Final = datetime(2026, 6, 20, tzinfo=UTC)


@dataclass(frozen=True)
class Shown:
    """What the meter showed under a fault, and what people and devices told of it.

    late         readings that arrive only after everything else has been accounted for
    is_exact     whether the information is there to know the energy; else the lost part must be flagged
    """

    time_us: TimeArray
    counter_kwh: FloatArray
    events: tuple[MeterEvent, ...] = ()
    serials: tuple[tuple[str, int], ...] = ()
    late: slice | None = None
    order: str = "sorted"
    modulus_kwh: float | None = None
    is_exact: bool = True


@dataclass(frozen=True)
class Outcome:
    """One row of the table: what was true, what the ledger says, and how it is flagged."""

    fault: str
    true_kwh: float
    ledger_kwh: float
    allowed_kwh: float
    flags: IncrementFlag
    estimated_kwh: float
    is_exact: bool

    @property
    def error_kwh(self) -> float:
        """What the ledger says too much [kWh]."""
        return self.ledger_kwh - self.true_kwh

    @property
    def is_right(self) -> bool:
        """Within 0.1 % and a count where the information is there; elsewhere flagged, and never too much."""
        within = abs(self.error_kwh) <= self.allowed_kwh
        flagged = bool(self.flags & (IncrementFlag.STEP | IncrementFlag.RESET))
        return within if self.is_exact else self.error_kwh <= self.allowed_kwh and (within or flagged)

    def __str__(self) -> str:
        flags = "|".join(flag.name or "" for flag in IncrementFlag if flag & self.flags) or "-"
        estimated = f", {self.estimated_kwh:.1f} estimated" if self.estimated_kwh else ""
        return (
            f"{self.fault:28} true {self.true_kwh:11.3f}  ledger {self.ledger_kwh:11.3f}  error {self.error_kwh:8.4f}"
            f" kWh  {flags}{estimated}"
        )


def _at(values: FloatArray, times: TimeArray, time_us: int) -> float:
    return float(np.interp(time_us, times, values))


def _plain(times: TimeArray, counter: FloatArray) -> Shown:
    return Shown(times, counter)


def _restarted(times: TimeArray, counter: FloatArray, at_us: int, to_kwh: float = 0.0) -> FloatArray:
    return np.where(times < at_us, counter, to_kwh + counter - _at(counter, times, at_us))


def _reset(times: TimeArray, counter: FloatArray) -> Shown:
    return Shown(times, _restarted(times, counter, NOON_US), is_exact=False)


def _reset_with_event(times: TimeArray, counter: FloatArray) -> Shown:
    final = CounterPair(import_kwh=round(_at(counter, times, NOON_US), 2))
    return Shown(times, _restarted(times, counter, NOON_US), (MeterEvent(EventKind.RESET, NOON_US, final=final),))


def _rollover(times: TimeArray, counter: FloatArray) -> Shown:
    modulus = 100_000.0
    return Shown(times, (counter - _at(counter, times, NOON_US)) % modulus, modulus_kwh=modulus)


def _swap(times: TimeArray, counter: FloatArray) -> Shown:
    return Shown(times, _restarted(times, counter, NOON_US, 20_000.0), is_exact=False)


def _swap_with_event(times: TimeArray, counter: FloatArray) -> Shown:
    """Off for 40 minutes, of which the new device ran the last 25; written down by a watch that is 5 minutes late."""
    off_us, on_us = NOON_US, NOON_US + HOUR_US * 2 // 3
    swapped_us = off_us + HOUR_US // 4
    kept = (times < off_us) | (times >= on_us)
    final = CounterPair(import_kwh=round(_at(counter, times, swapped_us), 2))
    event = MeterEvent(
        EventKind.SWAP, swapped_us + HOUR_US // 12, final=final, initial=CounterPair(import_kwh=20_000.0)
    )
    return Shown(times[kept], _restarted(times, counter, swapped_us, 20_000.0)[kept], (event,))


def _swap_told(times: TimeArray, counter: FloatArray) -> Shown:
    serials = (("4711", BEGIN_US), ("4712", NOON_US + STEP_US // 2))
    return Shown(times, _restarted(times, counter, NOON_US, 7.0), serials=serials, is_exact=False)


def _dip(times: TimeArray, counter: FloatArray) -> Shown:
    shown = counter.copy()
    at = int(np.searchsorted(times, NOON_US))
    shown[at : at + 2] = shown[at - 1] - 0.5
    return Shown(times, shown)


def _glitch(times: TimeArray, counter: FloatArray) -> Shown:
    shown = counter.copy()
    at = int(np.searchsorted(times, NOON_US))
    shown[at], shown[at + 40], shown[at + 41] = 0.0, 9e9, 1.5
    return Shown(times, shown)


def _gap(times: TimeArray, counter: FloatArray) -> Shown:
    kept = (times < NOON_US) | (times >= NOON_US + 6 * HOUR_US)
    return Shown(times[kept], counter[kept])


def _duplicate(times: TimeArray, counter: FloatArray) -> Shown:
    return Shown(times, counter, order="twice")


def _reorder(times: TimeArray, counter: FloatArray) -> Shown:
    return Shown(times, counter, order="shuffled")


def _late(times: TimeArray, counter: FloatArray) -> Shown:
    return Shown(times, counter, late=slice(1000, 1400))


def _clock_ahead(times: TimeArray, counter: FloatArray) -> Shown:
    """An hour ahead for 33 minutes: what was taken then stands an hour later, among what was taken there."""
    wrong = (times >= NOON_US) & (times < NOON_US + 33 * 60_000_000)
    return Shown(times + np.where(wrong, HOUR_US + 7, 0), counter)


FAULTS: Final[dict[str, Callable[[TimeArray, FloatArray], Shown]]] = {
    "none": _plain,
    "reset": _reset,
    "reset with event": _reset_with_event,
    "rollover": _rollover,
    "swap without event": _swap,
    "swap with event": _swap_with_event,
    "swap told by serial number": _swap_told,
    "dip": _dip,
    "glitch": _glitch,
    "6 h gap": _gap,
    "duplicate": _duplicate,
    "reorder": _reorder,
    "late by a week": _late,
    "clock an hour ahead": _clock_ahead,
}


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A database with one meter for each fault."""
    async with open_pool(database_url) as opened:
        await opened.execute(
            "INSERT INTO site VALUES (1, 'Works', 'UTC', NULL, 'DE', NULL, NULL);"
            "INSERT INTO area (site_id, key, name) VALUES (1, 'hall', 'Hall');"
            "INSERT INTO asset (site_id, area_id, key, name, kind) SELECT 1, area_id, 'a', 'A', 'feeder' FROM area;"
        )
        yield opened


async def outcomes(pool: Pool, loaded: LoadedPlant) -> list[Outcome]:
    """Let one and the same meter go through every fault, each as a meter of its own, and compare with the truth."""
    physics = SimulatedPlant(loaded.plant, loaded.profiles, 1, anchor=datetime(2026, 6, 1, tzinfo=UTC))
    times = np.arange(BEGIN_US, END_US + 1, STEP_US, dtype=np.int64)
    counter = readable_series(physics, METER_KEY, times)["energy_import_kwh"]
    own = accounts_of(loaded, {meter.key: place for place, meter in enumerate(loaded.plant.meters)})
    account = own[[meter.key for meter in loaded.plant.meters].index(METER_KEY)]
    meters = {1_000_001 + place: fault for place, fault in enumerate(FAULTS)}
    shown = {meter_id: FAULTS[fault](times, counter) for meter_id, fault in meters.items()}
    accounts = {meter_id: _account(account, meter_id, each) for meter_id, each in shown.items()}
    await _insert_meters(pool, accounts)
    await _write_all(pool, accounts, shown)
    true_kwh = physics.true_energy_kwh(METER_KEY, BEGIN_US, END_US).import_kwh
    count_kwh = physics.counter_count_kwh(METER_KEY, END_US)
    rows = await pool.fetch(
        "SELECT meter_id, sum(energy_import_kwh) AS kwh, sum(estimated_import_kwh) AS estimated, bit_or(flags) AS flags"
        " FROM interval_15m GROUP BY meter_id ORDER BY meter_id"
    )
    return [
        Outcome(
            meters[row["meter_id"]],
            true_kwh,
            row["kwh"],
            0.001 * true_kwh + count_kwh,
            IncrementFlag(row["flags"]),
            row["estimated"],
            shown[row["meter_id"]].is_exact,
        )
        for row in rows
    ]


def _account(account: MeterAccount, meter_id: int, shown: Shown) -> MeterAccount:
    rules = replace(account.rules, modulus_kwh=shown.modulus_kwh)
    return replace(account, meter_id=meter_id, rules=rules, has_export=False, poll_interval_s=STEP_US / 1e6)


async def _insert_meters(pool: Pool, accounts: dict[int, MeterAccount]) -> None:
    await pool.executemany(
        "INSERT INTO meter (meter_id, site_id, asset_id, key, name, profile, connection, address, measures_energy,"
        " poll_interval_s, rated_power_kw, max_gap_s)"
        " SELECT $1, 1, asset_id, 'm' || $2, 'M', 'p', 'c', '1', true, $3, $4, $5 FROM asset",
        [
            (each.meter_id, str(each.meter_id), each.poll_interval_s, each.rules.max_power_kw, each.rules.max_gap_s)
            for each in accounts.values()
        ],
    )


def _readings(meter_id: int, shown: Shown, which: slice | None = None) -> list[Reading]:
    pairs = list(zip(shown.time_us.tolist(), shown.counter_kwh.tolist(), strict=True))
    if which is None and shown.late is not None:
        del pairs[shown.late]
    elif which is not None:
        pairs = pairs[which]
    readings = [reading_of(meter_id, to_datetime(time_us), {"energy_import_kwh": kwh}) for time_us, kwh in pairs]
    if shown.order == "twice":
        return readings + readings
    if shown.order == "shuffled":
        return [readings[place] for place in np.random.default_rng(5).permutation(len(readings)).tolist()]
    return readings


async def _write_all(pool: Pool, accounts: dict[int, MeterAccount], shown: dict[int, Shown]) -> None:
    """Write in pieces with passes in between, then what came late, then what people wrote down."""
    keeper = Accounting(pool, accounts, ZoneInfo("UTC"), now=lambda: NOW)
    pending = {meter_id: _readings(meter_id, each) for meter_id, each in shown.items()}
    async with ReadingWriter(pool) as writer:
        for begin, end in pairwise(PASSES_AT):
            for readings in pending.values():
                if readings[begin:end]:
                    await writer.write(readings[begin:end])
            await keeper.run_once()
        await keeper.run_until_clean()
        for meter_id, each in shown.items():
            if each.late is not None:
                await writer.write(_readings(meter_id, each, each.late))
    for meter_id, each in shown.items():
        for serial, seen_us in each.serials:
            async with pool.acquire() as connection, connection.transaction():
                await store_identities(
                    connection, {meter_id: Seen(DeviceIdentity(serial, "M", None), seen_us, seen_us)}
                )
        for event in each.events:
            await add_event(pool, meter_id, event, author="l.wei", note="a test", now=NOW)
    await keeper.run_until_clean()


async def test_under_every_fault_the_ledger_is_exact_or_says_what_it_does_not_know(pool: Pool) -> None:
    loaded = load_plant(REPOSITORY / "config" / "plant.example.yaml", environ={})
    table = await outcomes(pool, loaded)
    text = "\n".join(str(row) for row in table)
    assert [row.fault for row in table] == list(FAULTS)
    assert all(row.is_right for row in table), f"\n{text}"
    by_fault = {row.fault: row for row in table}
    assert by_fault["none"].flags == 0
    for fault, flag in (
        ("reset", IncrementFlag.RESET),
        ("reset with event", IncrementFlag.RESET),
        ("rollover", IncrementFlag.ROLLOVER),
        ("swap without event", IncrementFlag.STEP),
        ("swap with event", IncrementFlag.SWAP),
        ("swap told by serial number", IncrementFlag.SWAP | IncrementFlag.STEP),
        ("dip", IncrementFlag.DIP),
        ("glitch", IncrementFlag.GLITCH),
        ("clock an hour ahead", IncrementFlag.HELD_OUT),
    ):
        assert by_fault[fault].flags & flag == flag, f"\n{text}"
    assert by_fault["6 h gap"].estimated_kwh > 0.2 * by_fault["6 h gap"].true_kwh, f"\n{text}"
