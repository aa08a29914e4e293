"""The OpenAPI document is complete, true to the answers, and no request that it allows makes the service fail."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from prometheus_client import CollectorRegistry, Counter
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from emsd.api import ApiDependencies, create_app
from emsd.energy.ledger import Activity
from emsd.energy.series import datetime_to_us
from emsd.ingest.live import LiveValues
from emsd.plant.models import Priority
from emsd.plant.production import Product, Production
from emsd.readings import reading_of
from emsd.signing import create_key
from emsd.statements import Wanted, create_statement
from emsd.store.activities import add_activities
from emsd.store.alarm_events import RuleRow, sync_rules
from emsd.store.certificates import NewInstrument, add_instrument
from emsd.store.pool import Pool, open_pool
from emsd.store.production import sync_production
from emsd.store.production_counts import NewCount, add_counts
from emsd.store.tariff import sync_tariffs
from emsd.store.tokens import create_token
from tests.api.conftest import METER_ID, Factory, insert_plant, serve
from tests.store.test_tariff import OLD, plant

if TYPE_CHECKING:
    from tests.api.conftest import OpenClient
    from tests.conftest import PostgresServer

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
WRITES = {
    ("/api/v1/alarms/{alarm_id}/acknowledge", "post"),
    ("/api/v1/meters/{key}/events", "post"),
    ("/api/v1/carbon/activities", "post"),
    ("/api/v1/carbon/certificates", "post"),
    ("/api/v1/carbon/certificates/{instrument_id}/events", "post"),
    ("/api/v1/production/counts", "post"),
}


async def document(open_client: OpenClient) -> dict[str, Any]:
    answer = await open_client(NOW).get("/openapi.json")
    body: dict[str, Any] = answer.json()
    return body


def operations(openapi: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


async def test_every_operation_has_a_summary_a_description_and_its_problems(open_client: OpenClient) -> None:
    openapi = await document(open_client)
    problem = {"$ref": "#/components/schemas/ProblemDetail"}
    for path, method, operation in operations(openapi):
        assert operation["summary"], path
        assert operation["description"], path
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert response["content"] == {"application/problem+json": {"schema": problem}}, (path, status)
        assert "422" in operation["responses"], path
        if path.startswith("/api/"):
            assert "503" in operation["responses"], path
        assert (("security" in operation), "401" in operation["responses"]) == ((path, method) in WRITES,) * 2, path


async def test_every_parameter_and_every_number_says_what_it_is(open_client: OpenClient) -> None:
    openapi = await document(open_client)
    for path, _, operation in operations(openapi):
        for parameter in operation.get("parameters", ()):
            assert parameter.get("description"), (path, parameter["name"])
    units = ("_kwh", "_kw", "_s", "_m2", "_kg_co2", "kg_co2", "_share", "coverage", "_percent", "latitude", "longitude")
    for name, schema in openapi["components"]["schemas"].items():
        for field, definition in schema.get("properties", {}).items():
            if field.endswith(units):
                assert definition.get("description"), (name, field)


async def test_every_reference_of_the_document_leads_somewhere(open_client: OpenClient) -> None:
    openapi = await document(open_client)

    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    found = set(references(openapi))
    assert found
    for reference in found:
        assert reference.removeprefix("#/components/schemas/") in openapi["components"]["schemas"]


async def fill_tariff(pool: Pool) -> None:
    """A tariff and an agreed demand."""
    async with pool.acquire() as connection, connection.transaction():
        await sync_tariffs(connection, plant(OLD, contract_demand_kw=4500))


async def fill_carbon_ledger(pool: Pool, now: datetime) -> None:
    """One certificate, one activity and one statement."""
    begin, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    certificate = NewInstrument(
        "registry", "S-1", "gec", False, "wind", Decimal(5), Decimal(0), begin, end, end, "trade", "l.wei"
    )
    await add_instrument(pool, 1, certificate)
    activity = Activity(
        reference="R-1", version=1, kind="release", substance="SF6", period_from=begin, period_to=end,
        amount=Decimal(2), unit="kg", document="service report", author="l.wei",
    )  # fmt: skip
    await add_activities(pool, 1, [activity])
    with TemporaryDirectory() as folder:
        key = create_key(Path(folder) / "key.pem")
    await create_statement(pool, key, Wanted(1, date(2026, 1, 1), date(2026, 2, 1), "a"), now=now)


async def fill_production(pool: Pool) -> None:
    """One product and one count."""
    async with pool.acquire() as connection:
        product = Product(key="panel", name="Panel", area_m2=0.01, passes={"etch": 12})
        await sync_production(connection, 1, Production(products=(product,)))
    begin = datetime.now(UTC) - timedelta(hours=2)
    count = NewCount("mes-1", "panel", begin, begin + timedelta(hours=1), 100.0, 90.0)
    await add_counts(pool, 1, [count], author="mes")


class ServedApplication:
    """The application with uvicorn, pool and data in a thread of its own, since generated tests are not async."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="served-application")
        self.url = ""
        self.token = ""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        now = datetime.now(UTC)
        async with open_pool(self._database_url, max_size=4) as pool:
            async with pool.acquire() as connection:
                await insert_plant(connection)
            factory = Factory(pool, self._database_url)
            end = now.replace(second=0, microsecond=0)
            await factory.add_factor(0.5, datetime(2020, 1, 1, tzinfo=UTC), end - timedelta(minutes=30))
            await factory.add_factor(0.4, end - timedelta(minutes=30))
            for key in ("incomer", "tool-1", "pv"):
                await factory.fill(key, end - timedelta(hours=2), end, imported=1.0, exported=0.1)
            await factory.account()
            await factory.execute(
                "INSERT INTO reading (time, meter_id, quality, active_power_kw) VALUES ($1, 1000003, 1, 4.5)", now
            )
            rule = RuleRow(METER_ID["incomer"], "demand", "Demand", Priority.LOW, "active_power_kw > 4000 kW", "")
            await sync_rules(pool, [rule], site_id=1, now_us=datetime_to_us(now))
            await fill_carbon_ledger(pool, now)
            await fill_tariff(pool)
            await fill_production(pool)
            self.token = await create_token(pool, "schemathesis")
            live = LiveValues()
            live.observe(reading_of(METER_ID["incomer"], now, {"active_power_kw": 7.5, "frequency_hz": None}))
            registry = CollectorRegistry()
            Counter("polls", "Polls.", registry=registry).inc()
            app = create_app(ApiDependencies(pool=pool, site_id=1, registry=registry, live=live))
            async with serve(app) as self.url:
                self._ready.set()
                await self._stop.wait()


@pytest.fixture(scope="module")
def served(postgres: PostgresServer, migrated_template: str) -> Iterator[ServedApplication]:
    name = f"emsd_test_{uuid.uuid4().hex[:12]}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    try:
        with ServedApplication(postgres.url_of(name)) as application:
            yield application
    finally:
        postgres.drop(name)


CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# The stream of live values never ends; test_live.py holds its contract.
LIVE = "/api/v1/live"
TAKES_NOTHING = {"/api/v1/plant", "/api/v1/meters", "/api/v1/latest", "/api/v1/carbon/factors"}
TAKES_NOTHING |= {"/api/v1/carbon/certificates", "/api/v1/carbon/statements"}
TAKES_NOTHING |= {"/api/v1/kpi", "/api/v1/production/products"}
TAKES_NOTHING |= {"/healthz", "/readyz", "/metrics"}
# Path and query with which each operation answers 200.
ORDINARY: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{path: ({}, {}) for path in TAKES_NOTHING},
    "/api/v1/meters/{key}": ({"key": "tool-1"}, {}),
    "/api/v1/meters/{key}/latest": ({"key": "incomer"}, {}),
    "/api/v1/meters/{key}/readings": ({"key": "tool-1"}, {"quantity": ["active_power_kw", "energy_import_kwh"]}),
    "/api/v1/meters/{key}/intervals": ({"key": "incomer"}, {"tier": "1m"}),
    "/api/v1/meters/{key}/events": ({"key": "incomer"}, {}),
    "/api/v1/explain/energy": ({}, {"scope": "meter", "key": "incomer"}),
    "/api/v1/explain/cost": ({}, {"scope": "area", "key": "line"}),
    "/api/v1/explain/demand": ({}, {"sliding": "false"}),
    "/api/v1/explain/carbon": ({}, {"figure": "market", "from": "2026-01-01", "to": "2026-04-01"}),
    "/api/v1/explain/kpi": ({}, {"asset": "compressor", "name": "load_factor"}),
    "/api/v1/explain/footprint": ({}, {"product": "panel", "measure": "kwh"}),
    "/api/v1/explain/balance": ({}, {"bus": "incomer"}),
    "/api/v1/energy/rolling": ({}, {"scope": "area", "key": "line"}),
    "/api/v1/energy/balance": ({}, {"bus": "incomer", "step": "15m"}),
    "/api/v1/carbon/rolling": ({}, {}),
    "/api/v1/carbon/ledger": ({}, {"from": "2026-01-01", "to": "2026-04-01"}),
    "/api/v1/carbon/activities": ({}, {"limit": 10}),
    "/api/v1/carbon/certificates/{instrument_id}/events": ({"instrument_id": 1}, {}),
    "/api/v1/carbon/statements/{statement_id}": ({"statement_id": 1}, {}),
    "/api/v1/carbon/statements/{statement_id}/document": ({"statement_id": 1}, {}),
    "/api/v1/carbon/statements/{statement_id}/verification": ({"statement_id": 1}, {}),
    "/api/v1/energy/sums": ({}, {"by": "area", "per": "day", "carbon": "true"}),
    "/api/v1/export/readings": ({}, {"quantity": ["active_power_kw"], "format": "parquet"}),
    "/api/v1/export/intervals": ({}, {"tier": "1m", "meter": ["incomer", "pv"]}),
    "/api/v1/export/events": ({}, {"format": "arrow"}),
    "/api/v1/assets/{key}/kpi": ({"key": "compressor"}, {"per": "1d", "kpi": ["load_factor"]}),
    "/api/v1/kpi/{name}": ({"name": "load_factor"}, {"asset_kind": "compressor"}),
    "/api/v1/production/counts": ({}, {"every_version": "true"}),
    "/api/v1/footprint": ({}, {"format": "csv"}),
    "/api/v1/cost": ({}, {"scope": "area", "key": "line", "per": "day"}),
    "/api/v1/tariff": ({}, {}),
    "/api/v1/demand": ({}, {"per": "day"}),
    "/api/v1/demand/forecast": ({}, {}),
    "/api/v1/alarms": ({}, {"priority": ["low"], "meter": ["incomer"]}),
    "/api/v1/alarms/{alarm_id}": ({"alarm_id": 1}, {}),
    "/api/v1/alarms/{alarm_id}/journal": ({"alarm_id": 1}, {}),
}


def api_operations(served: ServedApplication) -> Iterator[Any]:
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json").exclude(path=LIVE)
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        yield result.ok()


def test_what_an_operation_answers_is_what_it_promises(served: ServedApplication) -> None:
    answered = set()
    for operation in api_operations(served):
        if operation.method == "get":
            path, query = ORDINARY[operation.path]
            case = operation.Case(path_parameters=path, query=query)
            assert case.call_and_validate(checks=CHECKS).status_code == 200, operation.path
            answered.add(operation.path)
    assert answered == set(ORDINARY)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
def test_no_request_breaks_what_the_document_promises(served: ServedApplication, mode: GenerationMode) -> None:
    # schemathesis' own parametrize() does not work with pytest 9, so its strategies are used directly.
    for operation in api_operations(served):
        if mode is GenerationMode.NEGATIVE and operation.path in TAKES_NOTHING:
            continue

        @settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck])
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(headers={"Authorization": f"Bearer {served.token}"}, checks=CHECKS)

        holds()
