"""Health, readiness, metrics, headers, and what is said while the database is away."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from emsd.api import ApiDependencies, create_app
from emsd.servers import PrivatePostgres
from emsd.store.migrations import migrate
from emsd.store.pool import open_pool
from tests.api.conftest import insert_plant

if TYPE_CHECKING:
    from tests.api.conftest import OpenClient

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


async def ready() -> None:
    return None


async def lagging() -> str | None:
    return "minutes wait since 90 s"


async def hanging() -> str | None:
    await asyncio.Event().wait()
    return None


async def test_alive_and_ready(open_client: OpenClient) -> None:
    client = open_client(NOW, readiness={"accounting": ready, "connection substation": ready})
    assert (await client.get("/healthz")).json()["status"] == "alive"
    answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checked"] == ["accounting", "connection substation", "database"]


async def test_not_ready_names_what_and_why(open_client: OpenClient) -> None:
    client = open_client(
        NOW, readiness={"accounting": lagging, "connection substation": ready, "connection pv-1": hanging}
    )
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["not_ready"] == {
        "accounting": "minutes wait since 90 s",
        "connection pv-1": "gave no answer within 3 s",
    }
    assert (await client.get("/healthz")).status_code == 200


async def test_metrics_are_those_of_the_registry_given(open_client: OpenClient) -> None:
    registry = CollectorRegistry()
    Counter("polls", "Polls so far.", registry=registry).inc(7)
    client = open_client(NOW, registry=registry)
    text = await client.get("/metrics")
    assert text.headers["content-type"].startswith("text/plain; version=")
    assert "polls_total 7.0" in text.text
    open_metrics = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    assert open_metrics.text.endswith("# EOF\n")


async def test_every_answer_carries_the_security_headers(open_client: OpenClient) -> None:
    client = open_client(NOW)
    for path in ("/healthz", "/api/v1/plant", "/nowhere", "/api/v1/meters/nobody", "/openapi.json"):
        answer = await client.get(path, headers={"Origin": "https://elsewhere.example"})
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert answer.headers["x-frame-options"] == "DENY", path
        assert "default-src 'none'" in answer.headers["content-security-policy"], path
        assert "access-control-allow-origin" not in answer.headers, path
    docs = await client.get("/docs")
    assert "script-src https://cdn.jsdelivr.net" in docs.headers["content-security-policy"]


async def test_unknown_paths_and_methods_are_problems_too(open_client: OpenClient) -> None:
    client = open_client(NOW)
    missing = await client.get("/api/v1/metres")
    wrong = await client.delete("/api/v1/plant")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert wrong.headers["allow"] == "GET"
    for answer in (missing, wrong):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code


async def test_a_body_that_is_too_large_is_a_problem(open_client: OpenClient) -> None:
    answer = await open_client(NOW).post("/api/v1/alarms/1/acknowledge", content=b" " * 100_000)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_parameter_that_no_operation_has_is_refused(open_client: OpenClient) -> None:
    client = open_client(NOW)
    for path in ("/healthz", "/api/v1/plant", "/api/v1/meters/incomer/latest", "/api/v1/carbon/factors"):
        answer = await client.get(path, params={"pretty": "1"})
        assert answer.status_code == 422, path
        assert "it takes none" in answer.json()["detail"], path


async def test_a_failure_of_ours_shows_no_stack_trace(open_client: OpenClient) -> None:
    # Probes must not raise; this one does, as a mistake of ours would.
    async def broken() -> str | None:
        raise RuntimeError("secret detail")

    answer = await open_client(NOW, readiness={"broken": broken}).get("/readyz")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret detail" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_known_plant_outlives_the_database(
    stoppable: PrivatePostgres,
) -> None:
    await migrate(stoppable.url)
    async with open_pool(stoppable.url) as pool:
        async with pool.acquire() as connection:
            await insert_plant(connection)
        app = create_app(ApiDependencies(pool=pool, site_id=1, registry=CollectorRegistry(), plant_age_s=0.0))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://emsd.test") as client:
            before = await client.get("/api/v1/plant")
            assert before.status_code == 200
            await asyncio.to_thread(stoppable.stop)
            # What is known stays known; what only the database knows is a problem.
            assert (await client.get("/api/v1/plant")).json() == before.json()
            assert (await client.get("/api/v1/energy/rolling")).status_code == 503


@pytest.fixture
async def stoppable(servers_folder: Path) -> AsyncIterator[PrivatePostgres]:
    private = PrivatePostgres(servers_folder / f"stoppable-{uuid.uuid4().hex[:8]}", fsync=False)
    await asyncio.to_thread(private.start)
    try:
        yield private
    finally:
        await asyncio.to_thread(private.stop)


async def test_while_the_database_is_away_the_answer_is_a_problem_with_retry_after(
    stoppable: PrivatePostgres,
) -> None:
    async with open_pool(stoppable.url) as pool:
        app = create_app(ApiDependencies(pool=pool, site_id=1, registry=CollectorRegistry()))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://emsd.test") as client:
            assert (await client.get("/readyz")).status_code == 200
            await asyncio.to_thread(stoppable.stop)
            for path in ("/api/v1/energy/rolling", "/api/v1/plant", "/api/v1/alarms", "/api/v1/alarms/1"):
                answer = await client.get(path)
                assert answer.status_code == 503, path
                assert answer.headers["content-type"] == "application/problem+json"
                assert int(answer.headers["retry-after"]) > 0
                assert answer.json()["type"] == "urn:emsd:problem:database-unavailable"
                assert "127.0.0.1" not in answer.text
            not_ready = await client.get("/readyz")
            assert not_ready.status_code == 503
            assert list(not_ready.json()["not_ready"]) == ["database"]
            assert (await client.get("/healthz")).status_code == 200
            await asyncio.to_thread(stoppable.start)
            assert (await client.get("/readyz")).status_code == 200
