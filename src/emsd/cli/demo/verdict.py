"""Measured against true, meter by meter, and received against stored; the demo's exit code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rich.table import Table

from emsd.accounting import PlantAccounting
from emsd.cli.demo.world import DemoPlant
from emsd.plant.loader import LoadedPlant
from emsd.readings import Quality, instant_us
from emsd.store import audit
from emsd.store.pool import Pool, session
from simulator import SimulatedPlant, Simulator

__all__ = ["TOLERANCE", "Comparison", "Evidence", "Verdict", "compare", "judge", "settle", "verdict_table"]

TOLERANCE: Final = 0.005
"""Largest error as a share of the true energy, beside one count of the meter's counter."""

_LOOK_EVERY_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where the figures are found, and since when devices and service ran."""

    pool: Pool
    world: DemoPlant
    meter_ids: Mapping[str, int]
    simulator: Simulator
    began: datetime

    async def missing_messages(self) -> int:
        """Return how many messages the broker confirmed to the devices that are not stored."""
        published = {self.meter_ids[key]: count for key, count in self.simulator.published.items()}
        stored = await audit.stored_readings(
            self.pool, list(published), from_=self.began, without_quality=Quality.SIMULATED_HISTORY
        )
        return sum(max(0, count - stored.get(meter_id, 0)) for meter_id, count in published.items())


@dataclass(frozen=True, slots=True)
class Comparison:
    """One direction of one meter: what was measured, what is true, what the counter can show [kWh]."""

    meter: str
    direction: str
    measured_kwh: float | None
    true_kwh: float
    count_kwh: float

    @property
    def error_kwh(self) -> float | None:
        """Measured less true [kWh]; None when nothing was measured."""
        return None if self.measured_kwh is None else self.measured_kwh - self.true_kwh

    @property
    def allowed_kwh(self) -> float:
        """Largest error that is still right [kWh]."""
        return TOLERANCE * abs(self.true_kwh) + self.count_kwh

    @property
    def right(self) -> bool:
        """Whether the error is within what is allowed."""
        error = self.error_kwh
        return error is not None and abs(error) <= self.allowed_kwh


@dataclass(frozen=True, slots=True)
class Verdict:
    """All comparisons, and what became of readings."""

    since: datetime
    comparisons: Sequence[Comparison]
    lost: int
    unpolled: int
    missing_messages: int
    published: int
    quarantined: int
    polls: audit.PollTotals

    @property
    def right(self) -> bool:
        """Whether every meter is right and nothing was lost."""
        return bool(self.comparisons) and all(each.right for each in self.comparisons) and not self._losses

    @property
    def _losses(self) -> int:
        return self.lost + self.missing_messages + self.quarantined

    def sentences(self) -> Iterator[str]:
        """Yield what became of polls and messages."""
        polls = self.polls
        yield (
            f"{polls.expected:,} polls due: {polls.ok:,} answered, {polls.partial:,} in part, {polls.failed:,} failed, "
            f"{polls.skipped:,} skipped"
            + (f"; {self.unpolled:,} that nobody polled while the service was away" if self.unpolled else "")
        )
        yield (
            f"{self.published:,} MQTT messages published, {self.missing_messages:,} of them not stored; "
            f"{self.quarantined:,} quarantined; {self.lost:,} readings lost"
        )


async def settle(evidence: Evidence, *, within_s: float) -> None:
    """Wait until every message that the broker confirmed is stored, at most `within_s` [s]."""
    deadline_s = time.monotonic() + within_s
    while await evidence.missing_messages() and time.monotonic() < deadline_s:  # noqa: ASYNC110 - another process stores
        await asyncio.sleep(_LOOK_EVERY_S)


async def judge(evidence: Evidence) -> Verdict:
    """Compare what is stored with what is true; the service has stopped, so accounting finishes here."""
    loaded, since = evidence.world.loaded, evidence.world.compared_from
    await PlantAccounting(evidence.pool, loaded, evidence.meter_ids).run_until_clean()
    async with session(evidence.pool, "read measured energy") as connection:
        measured = await audit.measured_since(connection, since)
    return Verdict(
        since=since,
        comparisons=compare(loaded, evidence.simulator.truth, evidence.meter_ids, measured, since),
        lost=await audit.lost_readings(evidence.pool, from_=evidence.began),
        unpolled=await audit.unpolled_readings(evidence.pool, from_=evidence.began),
        missing_messages=await evidence.missing_messages(),
        published=sum(evidence.simulator.published.values()),
        quarantined=await audit.quarantined(evidence.pool, from_=evidence.began),
        polls=await audit.poll_totals(evidence.pool, from_=evidence.began),
    )


def compare(
    loaded: LoadedPlant,
    truth: SimulatedPlant,
    meter_ids: Mapping[str, int],
    measured: Mapping[int, audit.MeasuredEnergy],
    from_: datetime,
) -> list[Comparison]:
    """Compare every meter with a counter from the minute `from_` to its last sample, in each of its directions."""
    rows: list[Comparison] = []
    for meter in loaded.plant.meters:
        quantities = loaded.profile_of(meter).quantities
        found = measured.get(meter_ids[meter.key])
        for direction in ("import", "export"):
            if f"energy_{direction}_kwh" not in quantities:
                continue
            until_us = found.last_sample_us if found else instant_us(from_)
            true = truth.true_energy_kwh(meter.key, instant_us(from_), until_us)
            rows.append(
                Comparison(
                    meter=meter.key,
                    direction=direction,
                    measured_kwh=getattr(found, f"{direction}_kwh") if found else None,
                    true_kwh=getattr(true, f"{direction}_kwh"),
                    count_kwh=truth.counter_count_kwh(meter.key, at_us=until_us),
                )
            )
    return rows


def verdict_table(rows: Sequence[Comparison], title: str) -> Table:
    """Return the comparison as a table; where a meter moved one way only, its other direction is left out if right."""
    moved = {row.meter for row in rows if row.true_kwh or row.measured_kwh}
    table = Table("Meter", "", title=title, title_justify="left")
    for name in ("Measured kWh", "True kWh", "Error kWh", "Allowed kWh"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in rows:
        if row.right and not row.true_kwh and not row.measured_kwh and row.meter in moved:
            continue
        table.add_row(
            row.meter,
            row.direction,
            "none" if row.measured_kwh is None else f"{row.measured_kwh:,.4f}",
            f"{row.true_kwh:,.4f}",
            "" if row.error_kwh is None else f"{row.error_kwh:+.4f}",
            f"{row.allowed_kwh:.4f}",
            "[green]right[/green]" if row.right else "[red]wrong[/red]",
        )
    return table
