"""Alarms over HTTP, and the token that an acknowledgement needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from emsd.alarms.lifecycle import Event
from emsd.plant.models import Priority
from emsd.readings import instant_us
from emsd.store.alarm_events import RuleRow, apply_event, sync_rules
from emsd.store.tokens import create_token, revoke_token
from tests.api.conftest import METER_ID

if TYPE_CHECKING:
    import httpx

    from tests.api.conftest import Factory, OpenClient

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
BODY = {"author": "l.wei", "note": "On it."}


@pytest.fixture
async def alarms(factory: Factory) -> dict[str, int]:
    """Two alarms; the one of the compressor stands since five minutes."""
    rules = [
        RuleRow(METER_ID["compressor-controller"], "hot", "Too hot", Priority.HIGH, "t > 105 degC", "Look."),
        RuleRow(METER_ID["incomer"], "demand", "Demand", Priority.LOW, "active_power_kw > 4000 kW", ""),
    ]
    stored = await sync_rules(factory.pool, rules, site_id=1, now_us=instant_us(NOW - timedelta(hours=1)))
    numbers = {key: state.alarm_id for (_, key), state in stored.items()}
    await apply_event(
        factory.pool,
        numbers["hot"],
        Event.OCCUR,
        time_us=instant_us(NOW - timedelta(minutes=5)),
        value=107.2,
        notices=lambda _: (),
    )
    return numbers


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def listed(client: httpx.AsyncClient, **parameters: Any) -> list[str]:
    answer = await client.get("/api/v1/alarms", params=parameters)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["total"] == len(body["alarms"])
    return [each["rule"] for each in body["alarms"]]


async def test_alarms_are_filtered_by_state_meter_and_priority(alarms: dict[str, int], open_client: OpenClient) -> None:
    client = open_client(NOW)
    assert await listed(client) == ["hot", "demand"]
    assert await listed(client, state="unacknowledged") == ["hot"]
    assert await listed(client, state=["normal", "acknowledged"]) == ["demand"]
    assert await listed(client, meter="incomer") == ["demand"]
    assert await listed(client, priority="high") == ["hot"]
    assert await listed(client, priority="medium") == []
    assert (await client.get("/api/v1/alarms", params={"meter": "incommer"})).status_code == 404
    assert (await client.get("/api/v1/alarms", params={"state": "shouting"})).status_code == 422
    one = (await client.get(f"/api/v1/alarms/{alarms['hot']}")).json()
    assert one == {
        "alarm_id": alarms["hot"],
        "meter": "compressor-controller",
        "meter_name": "Compressor-Controller",
        "rule": "hot",
        "name": "Too hot",
        "priority": "high",
        "condition": "t > 105 degC",
        "advice": "Look.",
        "state": "unacknowledged",
        "since": "2026-03-10T11:55:00Z",
        "value": 107.2,
        "retired_at": None,
    }


async def test_an_acknowledgement_is_journalled_with_its_author(
    factory: Factory, alarms: dict[str, int], open_client: OpenClient
) -> None:
    client, token = open_client(NOW), await create_token(factory.pool, "shift")
    answer = await client.post(f"/api/v1/alarms/{alarms['hot']}/acknowledge", json=BODY, headers=bearer(token))
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "acknowledged"
    assert answer.json()["since"] == "2026-03-10T12:00:00Z"
    journal = (await client.get(f"/api/v1/alarms/{alarms['hot']}/journal")).json()
    assert [(each["transition"], each["to_state"], each["author"]) for each in journal["entries"]] == [
        ("acknowledge", "acknowledged", "l.wei"),
        ("occur", "unacknowledged", None),
    ]
    assert journal["entries"][0]["note"] == "On it."
    older = (
        await client.get(
            f"/api/v1/alarms/{alarms['hot']}/journal", params={"before": journal["entries"][0]["journal_id"]}
        )
    ).json()
    assert [each["transition"] for each in older["entries"]] == ["occur"]


async def test_who_writes_needs_a_token_that_is_valid(
    factory: Factory, alarms: dict[str, int], open_client: OpenClient
) -> None:
    client, path = open_client(NOW), f"/api/v1/alarms/{alarms['hot']}/acknowledge"
    revoked = await create_token(factory.pool, "gone")
    assert await revoke_token(factory.pool, "gone")
    for headers, kind, challenge in [
        ({}, "token-missing", 'Bearer realm="emsd"'),
        ({"Authorization": "Basic Zm9vOmJhcg=="}, "token-missing", 'Bearer realm="emsd"'),
        (bearer("emsd_wrong"), "token-invalid", 'Bearer realm="emsd", error="invalid_token"'),
        (bearer(revoked), "token-invalid", 'Bearer realm="emsd", error="invalid_token"'),
    ]:
        answer = await client.post(path, json=BODY, headers=headers)
        assert answer.status_code == 401, headers
        assert answer.headers["www-authenticate"] == challenge
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == f"urn:emsd:problem:{kind}"
    assert (await client.get(f"/api/v1/alarms/{alarms['hot']}")).json()["state"] == "unacknowledged"


async def test_what_cannot_be_acknowledged_is_refused(
    factory: Factory, alarms: dict[str, int], open_client: OpenClient
) -> None:
    client, headers = open_client(NOW), bearer(await create_token(factory.pool, "shift"))
    normal = await client.post(f"/api/v1/alarms/{alarms['demand']}/acknowledge", json=BODY, headers=headers)
    assert (normal.status_code, normal.json()["type"]) == (409, "urn:emsd:problem:alarm-refused")
    unknown = await client.post("/api/v1/alarms/999999/acknowledge", json=BODY, headers=headers)
    assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:emsd:problem:unknown-alarm")
    assert (await client.get("/api/v1/alarms/999999/journal")).status_code == 404
    bodies: list[object] = [
        {},
        {"author": "  "},
        {"author": "x", "note": "nul \x00"},
        {"author": "x", "oops": 1},
        [],
        "x",
    ]
    for body in bodies:
        answer = await client.post(f"/api/v1/alarms/{alarms['hot']}/acknowledge", json=body, headers=headers)
        assert answer.status_code == 422, body
        assert answer.json()["errors"], body
    broken = await client.post(f"/api/v1/alarms/{alarms['hot']}/acknowledge", content=b"{", headers=headers)
    assert broken.status_code == 422
    garbled = await client.post(
        f"/api/v1/alarms/{alarms['hot']}/acknowledge",
        content=b"z\x80z\x80",
        headers={**headers, "Content-Type": "application/json"},
    )
    assert (garbled.status_code, garbled.json()["detail"]) == (
        400,
        "the body is not JSON in UTF-8; send a JSON object",
    )
