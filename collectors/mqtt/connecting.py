"""Connect to a broker and take up a persistent session, by MQTT 5 or, where the broker is older, 3.1.1."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from collectors.mqtt.client import Client, HungUp
from collectors.mqtt.encryption import encryption_of
from collectors.mqtt.session import Session, number_of
from emsd.collector import honour_cancellation, wall_clock_us
from emsd.errors import Unreachable
from emsd.plant.mqtt_connection import BrokerConnection

__all__ = ["LastWill", "OldBroker", "open_session"]

SESSION_EXPIRY_S: Final = 7 * 86_400
"""How long an MQTT 5 broker keeps what arrives while we are away [s]; 3.1.1 brokers keep it by their own rule."""

CONNECT_TIMEOUT_S: Final = 10.0

_UNSUPPORTED_VERSION: Final = frozenset({1, 132})


class OldBroker(Unreachable):
    """The broker does not speak MQTT 5; connect with 3.1.1."""


@dataclass(frozen=True, slots=True)
class LastWill:
    """What the broker publishes for us when the connection ends without our saying so."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True


@asynccontextmanager
async def open_session(
    connection: BrokerConnection,
    client_id: str,
    topics: Sequence[tuple[str, int]],
    *,
    old_protocol: bool,
    will: LastWill | None = None,
    now_us: Callable[[], int] = wall_clock_us,
) -> AsyncIterator[Session]:
    """Connect, take up the persistent session of `client_id`, and subscribe.

    Raises:
        OldBroker: the broker does not speak MQTT 5.
        Unreachable: there is no connection, or the broker refuses it.
    """
    scheme = "mqtt" if connection.tls is None else "mqtts"
    where = f"{scheme}://{connection.host}:{connection.port}"
    encryption = None if connection.tls is None else await asyncio.to_thread(encryption_of, connection.tls, where)
    client = _client(connection, client_id, encryption, old_protocol=old_protocol, will=will)
    session = Session(client, where, now_us)
    async with AsyncExitStack() as stack:
        stack.callback(session.abandon)
        try:
            await stack.enter_async_context(client)
        except MqttConnectError as error:
            if number_of(error.rc) in _UNSUPPORTED_VERSION and not old_protocol:
                raise OldBroker(f"{where} does not speak MQTT 5; MQTT 3.1.1 is used instead") from error
            raise Unreachable(f"{where} refused the connection: {error}; check user, password and client id") from error
        except HungUp as error:
            cure = (
                "user and password" if encryption is None else "whether it wants a client certificate and trusts ours"
            )
            raise Unreachable(f"{where} closed the connection before it answered: {error}; check {cure}") from error
        except aiomqtt.MqttError as error:
            raise Unreachable(f"{where} cannot be reached: {error}; check address, port and network") from error
        stack.callback(session.close)
        await session.subscribe(topics)
        honour_cancellation()
        yield session


def _client(
    connection: BrokerConnection,
    client_id: str,
    encryption: ssl.SSLContext | None,
    *,
    old_protocol: bool,
    will: LastWill | None,
) -> Client:
    common: dict[str, Any] = {
        "username": connection.username,
        "password": connection.password.get_secret_value() if connection.password else None,
        "identifier": client_id,
        "keepalive": connection.keepalive_s,
        "timeout": CONNECT_TIMEOUT_S,
        "tls_context": encryption,
        "will": None if will is None else aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
    }
    if old_protocol:
        version = aiomqtt.ProtocolVersion.V311
        return Client(connection.host, connection.port, protocol=version, clean_session=False, **common)
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no annotation there
    properties.SessionExpiryInterval = SESSION_EXPIRY_S
    properties.ReceiveMaximum = connection.max_in_flight
    version = aiomqtt.ProtocolVersion.V5
    return Client(
        connection.host, connection.port, protocol=version, clean_start=False, properties=properties, **common
    )
