"""Faults through the whole service: what stands in the database, in the ledgers and on /metrics afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import asyncpg
import structlog
from prometheus_client import CollectorRegistry

from emsd.collector import MeterHealth, MeterState
from emsd.ingest.pipeline import PipelineStats
from emsd.plant.loader import LoadedPlant, load_plant
from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.plant.modbus_map import IdentityRegister, ModbusMap, ModbusPoint, RegisterType
from emsd.plant.profile import Profile
from emsd.servers import PrivatePostgres
from emsd.service import Service
from emsd.store.pool import Pool, open_pool
from simulator import Simulator
from simulator.fleet import fleet
from tests.collectors.bank import Bank
from tests.collectors.support import packed, scripted_server
from tests.e2e.plants import written
from tests.e2e.test_reload import delivered, running, until

INTERVAL_S: Final = 0.5
POWER, ENERGY, SERIAL = 10, 12, 110

_ROWS: Final = """
SELECT meter.key, count(*)::int AS rows,
       round(extract(epoch FROM max(time) - min(time)) / $1)::int + 1 AS expected,
       (count(*) FILTER (WHERE time BETWEEN $2 AND $3))::int AS during,
       bool_and(step >= 0) AS ascends
FROM (SELECT *, energy_import_kwh - lag(energy_import_kwh) OVER (PARTITION BY meter_id ORDER BY time) AS step
      FROM reading) AS each
JOIN meter USING (meter_id) GROUP BY meter.key"""
_COUNTS: Final = """
SELECT meter.key, count(*)::int AS rows, array_agg(DISTINCT energy_import_kwh) AS energy
FROM reading JOIN meter USING (meter_id) GROUP BY meter.key"""


def meter_profile(*, with_serial: bool = False) -> Profile:
    """Return a meter with a gauge and a counter that one request reads, so that a poll is one reading."""
    return Profile(
        profile="fault_meter",
        kind="power_meter",
        manufacturer="emsd",
        model="Fault meter",
        source=("made up for tests",),
        modbus=ModbusMap(
            points=(
                ModbusPoint(quantity="active_power_kw", address=POWER, type=RegisterType.F32),
                ModbusPoint(quantity="energy_import_kwh", address=ENERGY, type=RegisterType.U32),
            ),
            identity=(IdentityRegister(what="serial", address=SERIAL, type=RegisterType.U32),) if with_serial else (),
        ),
    )


def registers(serial: int, energy_kwh: int) -> dict[int, int]:
    return packed(POWER, ">f", 40.0) | packed(ENERGY, ">I", energy_kwh) | packed(SERIAL, ">I", serial)


def behind_a_gateway(port: int, units: int, folder: Path) -> LoadedPlant:
    """Return a plant of meters with serial numbers behind one gateway."""
    plant, profiles = fleet(units, 1, poll_interval_s=INTERVAL_S, profile=meter_profile(with_serial=True))
    gateway = ModbusTcpConnection(key="gateway-0", host="127.0.0.1", port=port, timeout_s=0.2, retries=0)
    return load_plant(written(plant.model_copy(update={"connections": (gateway,)}), profiles, folder), environ={})


def stats_of(service: Service) -> PipelineStats:
    assert service._parts is not None
    assert service._parts.pipeline is not None
    return service._parts.pipeline.stats()


def health_by_key(service: Service) -> Mapping[str, MeterHealth]:
    keys = {number: key for key, number in service._meter_ids.items()}
    return {keys[health.meter_id]: health for each in service._collectors() for health in each.health()}


def metric(service: Service, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(service._metrics)
    return registry.get_sample_value(name, labels)


async def until_there(pool: Pool, query: str, *arguments: object) -> asyncpg.Record:
    """Wait for a row that another task writes, bounded."""
    async with asyncio.timeout(60):
        while (row := await pool.fetchrow(query, *arguments)) is None:  # noqa: ASYNC110 - it lies in the database
            await asyncio.sleep(0.05)
    return row


async def now(pool: Pool) -> datetime:
    moment = await pool.fetchval("SELECT clock_timestamp()")
    assert isinstance(moment, datetime)
    return moment


async def test_a_database_that_is_restarted_in_the_middle_loses_no_tick(servers_folder: Path, tmp_path: Path) -> None:
    profile = meter_profile()
    plant, profiles = fleet(8, 2, poll_interval_s=INTERVAL_S, profile=profile)
    database = PrivatePostgres(servers_folder / "restarted", fsync=False)
    await asyncio.to_thread(database.start)
    try:
        async with Simulator(plant, profiles, free_ports=True) as simulator, open_pool(database.url) as pool:
            loaded = load_plant(written(simulator.served_plant, profiles, tmp_path), environ={})
            async with running(loaded, database.url, tmp_path) as service:
                await until(lambda: stats_of(service).stored >= 24, "some readings are stored")
                went = await now(pool)
                await asyncio.to_thread(database.stop)
                await until(lambda: stats_of(service).in_spool >= 40, "readings wait in the spool")
                assert not stats_of(service).database_up
                await asyncio.to_thread(database.start)
                await until(lambda: stats_of(service).in_spool == 0, "the backlog is in the database")
                came = await now(pool)
                accepted = stats_of(service).accepted
                await until(lambda: stats_of(service).stored >= accepted + 16, "live data flows as before")
                healths = health_by_key(service)
            stats = stats_of(service)
            found = {row["key"]: row for row in await pool.fetch(_ROWS, INTERVAL_S, went, came)}
            lost = await pool.fetchval("SELECT coalesce(sum(readings), 0) FROM reading_loss")
    finally:
        await asyncio.to_thread(database.stop)
    assert stats.spool is not None
    assert stats.spool.saved_readings >= 40
    assert (stats.lost, stats.refused, stats.depth, stats.in_spool, lost) == (0, 0, 0, 0, 0)
    assert stats.accepted == stats.stored
    assert set(found) == {meter.key for meter in plant.meters}
    for key, row in found.items():
        health = healths[key]
        assert row["rows"] == health.polls_ok, "every poll that was answered is one row"
        # What a machine under load had no time to ask is counted; nothing else is missing.
        assert row["expected"] - row["rows"] <= health.polls_failed + health.polls_skipped
        assert row["during"] >= 3, "the outage itself is covered"
        assert row["ascends"], "each row is of its own instant"


async def test_a_swapped_device_is_in_the_ledger_and_its_counter_is_that_of_the_new_one(
    database_url: str, tmp_path: Path
) -> None:
    bank = Bank.of(registers(4711, 5000), registers(4799, 800))
    async with scripted_server(bank) as port, open_pool(database_url, max_size=2) as pool:
        loaded = behind_a_gateway(port, 2, tmp_path)
        swapped, kept = (meter.key for meter in loaded.plant.meters)
        with structlog.testing.capture_logs() as events:
            async with running(loaded, database_url, tmp_path) as service:
                await until_there(pool, "SELECT FROM meter_identity WHERE serial = '4711'")
                await until_there(pool, "SELECT FROM meter_identity WHERE serial = '4799'")
                await until(lambda: delivered(service, swapped), "the old device delivers")
                bank.silent.add(1)
                await until(lambda: health_by_key(service)[swapped].state is MeterState.DOWN, "it is unmounted")
                bank.registers[1] = registers(4712, 12)
                bank.silent.clear()
                event = await until_there(pool, "SELECT * FROM meter_event")
                await until_there(pool, "SELECT FROM reading WHERE energy_import_kwh = 12")
                numbers = dict(service._meter_ids)
        identity = await pool.fetchrow("SELECT * FROM meter_identity WHERE meter_id = $1", numbers[swapped])
        rows = await pool.fetch("SELECT * FROM reading WHERE meter_id = $1 ORDER BY time", numbers[swapped])
        neighbour = await pool.fetch(
            "SELECT DISTINCT energy_import_kwh FROM reading WHERE meter_id = $1", numbers[kept]
        )
        events_of_neighbour = await pool.fetchval(
            "SELECT count(*) FROM meter_event WHERE meter_id <> $1", numbers[swapped]
        )
    assert (event["meter_id"], event["kind"], event["author"]) == (numbers[swapped], "swap", "emsd")
    detail = json.loads(event["detail"])
    assert (detail["old"]["serial"], detail["new"]["serial"]) == ("4711", "4712")
    assert identity is not None
    assert identity["serial"] == "4712"
    before = [row for row in rows if row["time"] < event["occurred_at"]]
    after = [row for row in rows if row["time"] >= event["occurred_at"]]
    assert {row["energy_import_kwh"] for row in before} == {5000.0}
    assert {row["energy_import_kwh"] for row in after} == {12.0}
    assert [row["energy_import_kwh"] for row in neighbour] == [800.0]
    assert events_of_neighbour == 0
    (said,) = [event for event in events if event["event"] == "meter_swapped"]
    assert "4711" in said["was"]
    assert "4712" in said["now"]


async def test_a_dead_unit_behind_a_gateway_is_named_and_the_others_keep_every_tick(
    database_url: str, tmp_path: Path
) -> None:
    bank = Bank.of(*(registers(4700 + unit, 100 * unit) for unit in range(1, 6)))
    bank.silent.add(3)
    async with scripted_server(bank) as port, open_pool(database_url, max_size=2) as pool:
        loaded = behind_a_gateway(port, 5, tmp_path)
        dead = loaded.plant.meters[2].key
        with structlog.testing.capture_logs() as events:
            async with running(loaded, database_url, tmp_path) as service:
                await until(lambda: health_by_key(service)[dead].polls_failed >= 2, "the dead unit was probed again")
                accepted = stats_of(service).accepted
                await until(lambda: stats_of(service).stored >= accepted + 24, "the others go on")
                await until_there(
                    pool,
                    "SELECT FROM collector_health_1m WHERE meter_id = $1 AND state = 'down' AND last_error IS NOT NULL",
                    service._meter_ids[dead],
                )
                healths = health_by_key(service)
                assert metric(service, "emsd_meter_state", meter=dead, state="down") == 1.0
                assert metric(service, "emsd_meter_up", meter=dead) == 0.0
                assert (metric(service, "emsd_meter_errors_total", meter=dead, kind="no_reply") or 0) >= 2
                labels = {"connection": "gateway-0", "kind": "modbus_tcp", "address": f"127.0.0.1:{port}"}
                assert metric(service, "emsd_endpoint_up", **labels) == 1.0
        found = {row["key"]: row for row in await pool.fetch(_COUNTS)}
    assert dead not in found, "nothing is made up for it"
    for place, meter in enumerate(loaded.plant.meters, start=1):
        if meter.key == dead:
            continue
        health = healths[meter.key]
        assert health.state is MeterState.OK
        assert (health.polls_failed, health.polls_partial) == (0, 0)
        assert found[meter.key]["rows"] == health.polls_ok
        assert found[meter.key]["energy"] == [100.0 * place]
    (said,) = [event for event in events if event["event"] == "meter_state" and event["meter"] == dead]
    assert said["state"] == "down"
    assert "unit 3" in said["error"]
