"""Pieces counted by a tool and told over a real broker become the footprint of the product it makes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import aiomqtt
import httpx
import orjson
import pytest
from prometheus_client import CollectorRegistry

from collectors.mqtt import open_collector
from emsd.accounting import Accounting, accounts_of
from emsd.accounting.kpi_inputs import KpiInputs
from emsd.api import ApiDependencies, create_app
from emsd.collector import BoundMeter
from emsd.plant.loader import load_plant
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.production import ProductCounter
from emsd.readings import Reading, reading_of
from emsd.servers import PrivateMosquitto
from emsd.store.plant import sync_plant
from emsd.store.pool import open_pool
from emsd.store.readings import ReadingWriter
from tests.collectors.support import MemorySink, eventually, running

EXAMPLE = Path(__file__).parents[2] / "config" / "plant.example.yaml"
BEGIN = datetime(2026, 5, 4, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
TOPIC = "emsd/tools/pieces"
MINUTES = range(-20, 90)


def said(minute: int) -> bytes:
    """Three pieces a minute, one of ten scrap; after half an hour the counter begins anew."""
    begun = -30 if minute < 30 else 30
    pieces = 3 * (minute - begun)
    time = (BEGIN + minute * MINUTE).isoformat().replace("+00:00", "Z")
    return orjson.dumps({"ts": time, "pieces": pieces, "good": pieces * 0.9})


async def test_pieces_told_over_mqtt_make_a_products_footprint(database_url: str, mosquitto: PrivateMosquitto) -> None:
    loaded = load_plant(EXAMPLE, environ={})
    assert loaded.plant.production is not None
    counter = ProductCounter(asset="process-tools", product="panel-13-3", stage="evaporation")
    production = loaded.plant.production.model_copy(update={"counters": (counter,)})
    plant = loaded.plant.model_copy(update={"production": production})
    now = BEGIN + 2 * HOUR
    parts = urlsplit(mosquitto.url)
    connection = MqttConnection.model_validate({"key": "broker", "host": parts.hostname, "port": parts.port})
    async with open_pool(database_url, max_size=3) as pool:
        ids = await sync_plant(pool, plant, loaded.profiles)
        meter = loaded.meters_by_key["tools-pieces"]
        sink = MemorySink()
        bound = BoundMeter(ids[meter.key], meter, loaded.profile_of(meter))
        async with (
            running(open_collector(connection, [bound], sink)),
            aiomqtt.Client(connection.host, connection.port) as device,
        ):
            # Until the collector has subscribed, a broker keeps only what is retained.
            await device.publish(TOPIC, said(MINUTES[0]), qos=1, retain=True)
            await eventually(lambda: bool(sink.stored))
            for minute in MINUTES[1:]:
                await device.publish(TOPIC, said(minute), qos=1)
            await device.publish(TOPIC, b"", qos=1, retain=True)
            await eventually(lambda: len({each.time_us for each in sink.stored}) == len(MINUTES))
        async with ReadingWriter(pool) as writer:
            await writer.write([*sink.stored, *feeder(ids["tools-feeder"])])
        await Accounting(pool, accounts_of(loaded, ids), plant.site.zone, now=lambda: now).run_until_clean()
        await KpiInputs(pool, loaded, ids, now=lambda: now).run_until_clean()
        app = create_app(ApiDependencies(pool=pool, site_id=1, registry=CollectorRegistry(), now=lambda: now))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://emsd.test") as client:
            asked = {"from": BEGIN.isoformat(), "to": (BEGIN + HOUR).isoformat()}
            body = (await client.get("/api/v1/footprint", params=asked)).json()
            kpi = (await client.get("/api/v1/assets/process-tools/kpi", params=asked)).json()
    (product,) = (each for each in body["products"] if each["product"] == "panel-13-3")
    # 180 pieces in the hour; what was made in the minute of the restart is what it shows afterwards: none.
    assert [(each["stage"], each["units"]) for each in product["stages"]] == [("evaporation", pytest.approx(177))]
    assert product["good_units"] == pytest.approx(177 * 0.9)
    assert product["total"]["energy_kwh"] == pytest.approx(600.0, rel=1e-3)
    assert product["per_unit"]["energy_kwh"] == pytest.approx(600 / (177 * 0.9), rel=1e-3)
    figures = {each["name"]: each["periods"][0]["value"] for each in kpi["kpis"]}
    assert figures["energy_per_piece"] == pytest.approx(600 / 177, rel=1e-3)
    assert figures["piece_yield"] == pytest.approx(90.0)


def feeder(meter_id: int) -> list[Reading]:
    """600 kW."""
    return [
        reading_of(meter_id, BEGIN + minute * MINUTE, {"energy_import_kwh": 10_000 + 10.0 * minute})
        for minute in MINUTES
    ]
