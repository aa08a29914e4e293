"""Live values: the latest of this process, and the stream over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from emsd.api import ApiDependencies, create_app
from emsd.ingest.live import LiveValues
from emsd.readings import Quality, instant_us, reading_of
from tests.api.conftest import METER_ID, serve

if TYPE_CHECKING:
    from tests.api.conftest import Factory, OpenClient

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


async def until(condition: Callable[[], bool], *, within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the server has no event to wait for
            await asyncio.sleep(0.005)


@pytest.fixture
async def live() -> LiveValues:
    return LiveValues()


@pytest.fixture
async def address(factory: Factory, live: LiveValues) -> AsyncIterator[str]:
    app = create_app(ApiDependencies(pool=factory.pool, site_id=1, registry=CollectorRegistry(), live=live))
    async with serve(app) as url:
        yield url


async def next_event(lines: AsyncIterator[str]) -> dict[str, str]:
    """Read one event: its fields up to the empty line; a comment stands under the empty name."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(60):
        async for line in lines:
            if not line:
                return fields
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
    raise AssertionError("the stream ended")


async def test_a_reading_reaches_whoever_watches(address: str, live: LiveValues) -> None:
    client = httpx.AsyncClient(base_url=address, timeout=60)
    async with client, client.stream("GET", "/api/v1/live") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        greeting = await next_event(lines)
        assert "" in greeting  # a comment, so that proxies send the headers on at once
        assert int(greeting["retry"]) > 0
        live.observe(
            reading_of(METER_ID["incomer"], NOW, {"active_power_kw": 2875.5, "frequency_hz": None}, Quality.MISSING)
        )
        event = await next_event(lines)
        assert event["event"] == "reading"
        assert event["id"] == str(instant_us(NOW))
        assert json.loads(event["data"]) == {
            "meter": "incomer",
            "time": "2026-03-10T12:00:00Z",
            "values": {"active_power_kw": 2875.5, "frequency_hz": None},
            "quality": ["missing"],
        }


async def test_only_the_meters_asked_for_are_sent(address: str, live: LiveValues) -> None:
    parameters = {"meter": ["tool-1", "tool-2"]}
    async with (
        httpx.AsyncClient(base_url=address, timeout=60) as client,
        client.stream("GET", "/api/v1/live", params=parameters) as answer,
    ):
        lines = answer.aiter_lines()
        await next_event(lines)
        for second, key in enumerate(("incomer", "tool-2", "pv", "tool-1")):
            live.observe(reading_of(METER_ID[key], NOW + timedelta(seconds=second), {"active_power_kw": 1.0}))
        seen = [json.loads((await next_event(lines))["data"])["meter"] for _ in range(2)]
        assert seen == ["tool-2", "tool-1"]


async def test_the_stream_ends_when_the_client_goes_away(address: str, live: LiveValues) -> None:
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        async with client.stream("GET", "/api/v1/live") as answer:
            await next_event(answer.aiter_lines())
            assert live.subscribers == 1
        await until(lambda: live.subscribers == 0)


async def test_a_stream_of_an_unknown_meter_is_a_problem(address: str, live: LiveValues) -> None:
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        answer = await client.get("/api/v1/live", params={"meter": "tool-3"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "tool-1" in answer.json()["detail"]
    assert live.subscribers == 0


async def test_a_process_that_collects_nothing_says_so(open_client: OpenClient) -> None:
    answer = await open_client(NOW).get("/api/v1/live")
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:emsd:problem:no-live-values"


async def test_latest_comes_from_this_process_where_it_has_values(
    factory: Factory, open_client: OpenClient, live: LiveValues
) -> None:
    await factory.execute("INSERT INTO reading (time, meter_id, active_power_kw) VALUES ($1, 1000001, 1)", NOW)
    await factory.execute("INSERT INTO reading (time, meter_id, active_power_kw) VALUES ($1, 1000003, 3)", NOW)
    when = NOW - timedelta(seconds=2)
    live.observe(
        reading_of(METER_ID["incomer"], when, {"active_power_kw": 7.25, "frequency_hz": None}, Quality.MISSING)
    )
    meters: dict[str, Any] = {
        each["meter"]: each for each in (await open_client(NOW, live=live).get("/api/v1/latest")).json()["meters"]
    }
    assert meters["incomer"]["source"] == "live"
    assert meters["incomer"]["age_s"] == 2
    assert meters["incomer"]["values"]["active_power_kw"]["value"] == 7.25
    # Missing in the newest reading is null with its reason, neither 0 nor silently left out.
    assert meters["incomer"]["values"]["frequency_hz"]["value"] is None
    assert meters["incomer"]["values"]["frequency_hz"]["quality"] == ["missing"]
    assert meters["tool-1"]["source"] == "database"
    assert meters["tool-1"]["values"]["active_power_kw"]["value"] == 3
