"""A day of the example plant in a database: readings of the simulator, intervals, alarms, health, what went wrong.

One database for all tests here; they only read it, as Grafana does. The day lies in the past and every figure is asked
for at its end, so no test depends on the clock.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import asyncpg
import pytest

from emsd.accounting import Accounting, accounts_of
from emsd.accounting.kpi_inputs import KpiInputs
from emsd.alarms.lifecycle import Event, Transition
from emsd.collector import MeterHealth, MeterState, Poison
from emsd.energy.ledger import Activity
from emsd.plant.loader import LoadedPlant, load_plant
from emsd.plant.models import Priority
from emsd.readings import instant_us
from emsd.service.deriving import Deriving
from emsd.service.deriving_balance import derive_balance
from emsd.service.deriving_demand import derive_demand
from emsd.signing import create_key
from emsd.statements import Wanted, create_statement
from emsd.store.activities import add_activities
from emsd.store.alarm_events import Notice, RuleRow, apply_event, sync_rules
from emsd.store.alarms import acknowledge
from emsd.store.carbon import refresh_months
from emsd.store.certificate_journal import NewEvent, add_event
from emsd.store.certificates import NewInstrument, add_instrument, valid_until
from emsd.store.health import HealthRecorder
from emsd.store.loss import Loss, write_losses
from emsd.store.migrations import set_reader_password
from emsd.store.outbox import claim, mark_failed, mark_sent
from emsd.store.plant import sync_plant
from emsd.store.pool import Pool, open_pool
from emsd.store.production_counts import NewCount, add_counts
from emsd.store.quarantine import write_poisons
from emsd.store.readings import ReadingWriter
from emsd.store.virtual_meters import virtual_meter_ids
from simulator import SimulatedPlant, history
from tests.conftest import PostgresServer, wait_for

ROOT = Path(__file__).parents[2]
END = datetime(2026, 6, 16, 8, 0, tzinfo=UTC)
"""16:00 at the site: the sun shines, and the local day is 16 hours old."""
BEGIN = END - timedelta(hours=24)
STEP_S = 30.0
COUNTS = (
    NewCount("array-1", "panel-6-7", BEGIN, END, 12_000, stage="array"),
    NewCount("array-2", "panel-13-3", BEGIN, END, 1_500, stage="array"),
    NewCount("line-1", "panel-6-7", BEGIN, END, 11_600, 11_000),
    NewCount("evaporation-2", "panel-13-3", BEGIN, END, 1_400, 1_300, "evaporation"),
)
_HEALTH_MINUTES = 360
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class FilledDatabase:
    """The database, the plant in it, and what really flowed."""

    server: PostgresServer
    url: str
    loaded: LoadedPlant
    physics: SimulatedPlant
    meter_ids: dict[str, int]


@pytest.fixture(scope="session")
def filled(postgres: PostgresServer, migrated_template: str) -> Iterator[FilledDatabase]:
    loaded = load_plant(ROOT / "config" / "plant.example.yaml", environ={})
    physics = SimulatedPlant(loaded.plant, loaded.profiles, seed=1, anchor=BEGIN - timedelta(days=1))
    name = f"emsd_dashboards_{uuid.uuid4().hex[:12]}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_template} STRATEGY file_copy")
    try:
        found = FilledDatabase(postgres, postgres.url_of(name), loaded, physics, {})
        wait_for(_fill(found))
        yield found
    finally:
        postgres.drop(name)


@pytest.fixture
async def owner(filled: FilledDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(filled.url)
    yield connection
    await connection.close()


@pytest.fixture
async def reader(filled: FilledDatabase, owner: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """A session of emsd_reader, Grafana's role, logged in with its password."""
    password = secrets.token_hex(12)
    await set_reader_password(owner, password)
    place = urlsplit(filled.url)
    url = place._replace(netloc=f"emsd_reader:{password}@{place.hostname}:{place.port}").geturl()
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


async def _fill(filled: FilledDatabase) -> None:
    plant = filled.loaded.plant
    async with open_pool(filled.url) as pool:
        filled.meter_ids.update(await sync_plant(pool, plant, filled.loaded.profiles))
        span = instant_us(BEGIN), instant_us(END)
        async with ReadingWriter(pool) as writer:
            for batch in history(filled.physics, filled.meter_ids, *span, STEP_S):
                await writer.write(batch)
        accounts = accounts_of(filled.loaded, filled.meter_ids)
        await Accounting(pool, accounts, plant.site.zone, now=lambda: END).run_until_clean()
        await _derived(pool, filled)
        await KpiInputs(pool, filled.loaded, filled.meter_ids, now=lambda: END).run_until_clean()
        await add_counts(pool, plant.site.number, COUNTS, author="mes")
        await _alarms(pool, filled.meter_ids)
        await _health(pool, filled.meter_ids)
        await _what_was_not_kept(pool, filled.meter_ids)
        await _carbon_ledger(pool, plant.site.number)
        await pool.execute("ANALYZE")


async def _derived(pool: Pool, filled: FilledDatabase) -> None:
    """What is derived every minute, of the last ones."""
    deriving = Deriving(pool, (derive_balance, derive_demand), settle_s=0)
    deriving.adopt(filled.loaded, filled.meter_ids | await virtual_meter_ids(pool, filled.loaded.plant.site.number))
    for minutes_before_end in range(15, -1, -1):
        assert await deriving.derive_once(instant_us(END - minutes_before_end * _MINUTE))


async def _alarms(pool: Pool, meter_ids: dict[str, int]) -> None:
    """One alarm in each state; notifications that were sent, given up, and wait."""
    rules = [
        RuleRow(meter_ids[meter], key, name, priority, "room_pressure_pa < 15 Pa for 5 s", "Look for an open door.")
        for meter, key, name, priority in (
            ("cleanroom-climate", "pressure-low", "Over-pressure low", Priority.HIGH),
            ("compressor-1-controller", "air-low", "Discharge pressure low", Priority.MEDIUM),
            ("incomer", "demand", "Power above contract demand", Priority.MEDIUM),
            ("pv-1-inverter", "stale", "Energy meter delivers nothing", Priority.LOW),
        )
    ]
    states = await sync_rules(pool, rules, site_id=1, now_us=instant_us(BEGIN))
    ids = [state.alarm_id for state in states.values()]

    async def happen(alarm_id: int, event: Event, minutes_before_end: float, value: float | None) -> None:
        def tell(transition: Transition) -> list[Notice]:
            return [Notice("oncall", f"{transition.step}", "The whole story")]

        at_us = instant_us(END - timedelta(minutes=minutes_before_end))
        assert await apply_event(pool, alarm_id, event, time_us=at_us, value=value, notices=tell) is not None

    unacknowledged, returned, acknowledged, normal = ids
    for before_end in (240.0, 60.0):
        await happen(unacknowledged, Event.OCCUR, before_end, 6.0)
        await happen(unacknowledged, Event.RETURN, before_end - 5, 20.0)
    await happen(unacknowledged, Event.OCCUR, 12.0, 7.5)
    await happen(returned, Event.OCCUR, 200.0, 5.2)
    await happen(returned, Event.RETURN, 190.0, 6.5)
    await happen(acknowledged, Event.OCCUR, 30.0, 4600.0)
    await acknowledge(pool, acknowledged, author="shift 2", note="tools ramp up", now_us=instant_us(END - 20 * _MINUTE))
    await happen(normal, Event.OCCUR, 600.0, None)
    await acknowledge(pool, normal, author="shift 1", now_us=instant_us(END - 590 * _MINUTE))
    await happen(normal, Event.RETURN, 580.0, None)
    for _ in range(3):
        notice = await claim(pool, "oncall")
        assert notice is not None
        await mark_sent(pool, notice.notification_id)
    notice = await claim(pool, "oncall")
    assert notice is not None
    await mark_failed(pool, notice.notification_id, reason="401 from mailtos://user:secret@mail.example")


async def _health(pool: Pool, meter_ids: dict[str, int]) -> None:
    """Six hours of minutes: one meter down, one degraded, the others well."""
    recorder = HealthRecorder(pool, keep_minutes=_HEALTH_MINUTES)
    totals = {key: MeterHealth(meter_id) for key, meter_id in meter_ids.items()}
    for minute in range(_HEALTH_MINUTES):
        for key, health in totals.items():
            health.polls_expected += 60
            health.requests += 60
            health.state, health.round_trip_s = MeterState.OK, 0.012
            if key == "weather-pyranometer" and minute >= _HEALTH_MINUTES - 30:
                health.polls_failed += 20
                health.polls_skipped += 40
                health.state, health.last_error = MeterState.DOWN, "no reply within 1 s"
            elif key == "chiller-2-controller":
                health.polls_partial += 60
                health.values_rejected += 3
                health.state = MeterState.DEGRADED
            else:
                health.polls_ok += 60
        await recorder.record(instant_us(END - (_HEALTH_MINUTES - minute) * _MINUTE), totals.values())


async def _carbon_ledger(pool: Pool, site_id: int) -> None:
    """A certificate with a part retired, an activity, the statement of a day, and the months so far."""
    begin, end = datetime(2025, 12, 31, 16, tzinfo=UTC), datetime(2026, 12, 31, 16, tzinfo=UTC)
    certificate = NewInstrument(
        "registry",
        "GEC-1",
        "gec",
        False,
        "wind",
        Decimal(500),
        Decimal(0),
        begin,
        end,
        valid_until("gec", end),
        "trade 1",
        "l.wei",
    )
    number = await add_instrument(pool, site_id, certificate)
    retired = NewEvent(number, "retire", Decimal(365), END, "retirement 1", "l.wei", period_from=begin, period_to=end)
    await add_event(pool, site_id, retired)
    gas = Activity(
        reference="NF3-2026", version=1, kind="process_gas", substance="NF3", process="chamber_clean_remote",
        period_from=begin, period_to=end, area="cleanroom", amount=Decimal(365), unit="kg", abated_share=Decimal(1),
        document="gas store", author="l.wei",
    )  # fmt: skip
    await add_activities(pool, site_id, [gas])
    with TemporaryDirectory() as folder:
        key = create_key(Path(folder) / "key.pem")
    await create_statement(pool, key, Wanted(site_id, date(2026, 6, 15), date(2026, 6, 16), "l.wei"), now=END)
    await refresh_months(pool, site_id, 2026, now=END)


async def _what_was_not_kept(pool: Pool, meter_ids: dict[str, int]) -> None:
    at_us = instant_us(END - 90 * _MINUTE)
    loss = Loss(meter_ids["tools-feeder"], 120, at_us - 120_000_000, at_us, "the database was away for too long")
    await write_losses(pool, [loss], recorded_us=at_us)
    poison = Poison(
        source="emsd/cleanroom/exhaust",
        payload=b'{"power": "\xff\x00',
        reason="not JSON: it ends in the middle of a text",
        received_us=at_us,
        meter_id=meter_ids["cleanroom-exhaust"],
    )
    async with pool.acquire() as connection:
        await write_poisons(connection, [poison])
