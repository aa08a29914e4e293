"""What the MQTT tests share: meters of shipped profiles, and Mosquitto's own client as the device."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from emsd.collector import BoundMeter, Collector, MeterHealth
from emsd.plant.mqtt_connection import MqttConnection
from emsd.servers import PrivateMosquitto
from tests.collectors.support import bound, profile


def connection_to(url: str, **settings: object) -> MqttConnection:
    parts = urlsplit(url)
    return MqttConnection.model_validate({"key": "broker", "host": parts.hostname, "port": parts.port, **settings})


def meter_of(name: str, topic: str, meter_id: int = 2_000_017, **meter: Any) -> BoundMeter:
    return bound(meter_id, profile(name), topic=topic, rated_power_kw=80, **meter)


async def pub(
    broker: PrivateMosquitto, topic: str, payload: bytes | str, *, qos: int = 1, retain: bool = False
) -> None:
    """Publish one message with mosquitto_pub."""
    program = await asyncio.create_subprocess_exec(
        broker.pub, "-h", "127.0.0.1", "-p", str(broker.port), "-t", topic, "-q", str(qos), "-s",
        *(["-r"] if retain else []), stdin=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await program.communicate(payload.encode() if isinstance(payload, str) else payload)
    assert program.returncode == 0


def health_of(collector: Collector) -> MeterHealth:
    (health,) = collector.health()
    assert health.polls_expected == (
        health.polls_ok + health.polls_partial + health.polls_failed + health.polls_skipped
    )
    return health
