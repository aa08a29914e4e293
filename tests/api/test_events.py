"""Meter events over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from emsd.store.tokens import create_token
from tests.api.conftest import METER_ID

if TYPE_CHECKING:
    from tests.api.conftest import Factory, OpenClient

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
PATH = "/api/v1/meters/incomer/events"
SWAP: dict[str, Any] = {
    "kind": "swap",
    "at": "2026-03-10T12:30:00+01:00",
    "author": "l.wei",
    "note": "Work order 4711.",
    "final_import_kwh": 912345.6,
    "serial": "2402117",
}


async def test_an_event_is_written_with_a_token_and_read_without(factory: Factory, open_client: OpenClient) -> None:
    client = open_client(NOW)
    assert (await client.get(PATH)).json() == {"meter": "incomer", "events": []}
    assert (await client.post(PATH, json=SWAP)).status_code == 401
    token = {"Authorization": f"Bearer {await create_token(factory.pool, 'engineer')}"}
    answer = await client.post(PATH, json=SWAP, headers=token)
    assert answer.status_code == 201, answer.text
    written = answer.json()
    assert {name: written[name] for name in ("event_id", "meter", "kind", "at", "detail", "author", "note")} == {
        "event_id": 1,
        "meter": "incomer",
        "kind": "swap",
        "at": "2026-03-10T11:30:00Z",
        "detail": {"final": {"import_kwh": 912345.6}, "serial": "2402117"},
        "author": "l.wei",
        "note": "Work order 4711.",
    }
    marked = await factory.pool.fetchval(
        "SELECT count(*) FROM dirty_interval WHERE meter_ids = $1", [METER_ID["incomer"]]
    )
    assert marked == 1
    gone = {"kind": "withdrawal", "supersedes": 1, "author": "l.wei", "note": "Wrong meter."}
    assert (await client.post(PATH, json=gone, headers=token)).status_code == 201
    entries = (await client.get(PATH)).json()["events"]
    assert [(each["kind"], each["supersedes"], each["superseded_by"]) for each in entries] == [
        ("withdrawal", 1, None),
        ("swap", None, 2),
    ]
    assert (await client.get("/api/v1/meters/tool-1/events")).json()["events"] == []


async def test_what_cannot_be_written_says_why(factory: Factory, open_client: OpenClient) -> None:
    client = open_client(NOW)
    token = {"Authorization": f"Bearer {await create_token(factory.pool, 'engineer')}"}
    assert (await client.post(PATH, json=SWAP, headers=token)).status_code == 201
    for change, status, words in (
        ({}, 409, "event 1 of this meter says the same already"),
        ({"at": "2026-03-10T12:30:00Z"}, 409, "write an event once it has happened"),
        ({"supersedes": 7}, 409, "there is no event 7"),
        ({"factor": 5.0}, 422, "takes no factor, leave it out"),
        ({"kind": "ct_ratio", "final_import_kwh": None, "serial": None}, 422, "needs a factor"),
        ({"kind": "withdrawal"}, 422, "body.supersedes"),
        ({"at": None}, 422, "body.at"),
        ({"note": "  "}, 422, "body.note"),
        ({"final_import_kwh": -1}, 422, "final_import_kwh"),
        ({"cause": "?"}, 422, "body.cause"),
    ):
        answer = await client.post(PATH, json=SWAP | change, headers=token)
        assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
    elsewhere = await client.post("/api/v1/meters/tool-1/events", json=SWAP | {"supersedes": 1}, headers=token)
    assert elsewhere.status_code == 409
    assert "is one of meter incomer" in elsewhere.json()["detail"]
    assert (await client.post("/api/v1/meters/incommer/events", json=SWAP, headers=token)).status_code == 404
    assert await factory.pool.fetchval("SELECT count(*) FROM meter_event") == 1
