"""The plant's tree and its meters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.api.conftest import OpenClient

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


async def test_the_tree_nests_areas_assets_and_meters(open_client: OpenClient) -> None:
    tree = (await open_client(NOW).get("/api/v1/plant")).json()
    assert (tree["name"], tree["time_zone"], tree["contract_demand_kw"]) == ("Test fab", "Europe/Berlin", 4500)
    (plant,) = tree["areas"]
    assert [asset["key"] for asset in plant["assets"]] == ["grid"]
    fab, utility = plant["areas"]
    assert (fab["key"], utility["key"]) == ("fab", "utility")
    (line,) = fab["areas"]
    (bay,) = line["areas"]
    assert bay["stage"] == "etch"
    (etcher,) = bay["assets"]
    (tool,) = etcher["meters"]
    assert tool == {
        "key": "tool-1",
        "name": "Tool-1",
        "meter_id": 1_000_003,
        "kind": "device",
        "measures_energy": True,
        "counts": True,
        "parent": "fab-feeder",
    }
    compressor = next(asset for asset in utility["assets"] if asset["key"] == "compressor")
    assert [meter["key"] for meter in compressor["meters"]] == ["compressor-feeder", "compressor-controller"]


async def test_a_meter_knows_its_place(open_client: OpenClient) -> None:
    client = open_client(NOW)
    tool = (await client.get("/api/v1/meters/tool-1")).json()
    assert tool["areas"] == ["bay", "line", "fab", "plant"]
    assert (tool["asset"], tool["asset_kind"], tool["parent"]) == ("etcher-1", "process_tool", "fab-feeder")
    incomer = (await client.get("/api/v1/meters/incomer")).json()
    assert incomer["children"] == ["fab-feeder", "compressor-feeder", "pv"]
    listed = (await client.get("/api/v1/meters")).json()["meters"]
    assert len(listed) == 7
    assert tool in listed


async def test_an_unknown_meter_is_told_what_is_close(open_client: OpenClient) -> None:
    answer = await open_client(NOW).get("/api/v1/meters/tool1")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "urn:emsd:problem:unknown-meter"
    assert problem["status"] == 404
    assert problem["instance"] == "/api/v1/meters/tool1"
    assert set(problem["did_you_mean"]) == {"tool-1", "tool-2"}
