"""One connection to a broker with a persistent session; the only module that knows aiomqtt and paho.

aiomqtt has no manual acknowledgement of its own: paho's, which lies under it, is switched on here. paho would
acknowledge in any order; MQTT 5.0 (4.6) and 3.1.1 (4.6) want the order of arrival, so that is kept.

Memory is bounded by the protocol: at QoS 1 a broker may have no more unacknowledged messages under way than the receive
maximum that we name (MQTT 5), and never more than 65,535 (packet ids have 16 bits). Messages of QoS 0 are handled as
they come, without waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from emsd.collector import honour_cancellation
from emsd.errors import Unreachable
from emsd.plant.mqtt_connection import MqttConnection

__all__ = ["Delivery", "OldBroker", "Session", "open_session", "topic_matches"]

SESSION_EXPIRY_S: Final = 7 * 86_400
"""How long an MQTT 5 broker keeps what arrives while we are away [s]; 3.1.1 brokers keep it by their own rule."""

CONNECT_TIMEOUT_S: Final = 10.0
_UNSUPPORTED_VERSION: Final = frozenset({1, 132})
_REFUSED: Final = 0x80
_TOPICS_A_REQUEST: Final = 200


class OldBroker(Unreachable):
    """The broker does not speak MQTT 5; connect with 3.1.1."""


@dataclass(slots=True, eq=False)
class Delivery:
    """A message on its way in; at QoS 1 the broker keeps it until `Session.done`."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    repeated: bool
    """The broker has sent it before and got no acknowledgement."""
    packet_id: int
    is_done: bool = False


class Session:
    """An open connection; made by `open_session`."""

    def __init__(self, client: aiomqtt.Client, where: str) -> None:
        """Prepare a client that is not connected yet: what a broker has kept comes with the connection."""
        self._client = client
        self._where = where
        self._unacknowledged: deque[Delivery] = deque()
        self._repeated: set[int] = set()
        self._paho = client._client  # noqa: SLF001 - aiomqtt offers no way to acknowledge by hand
        self._paho.manual_ack_set(on=True)
        forward = self._paho.on_message

        def note_repeated(paho_client: PahoClient, userdata: object, message: MQTTMessage) -> None:
            # aiomqtt's message leaves the DUP flag out.
            if message.dup and message.qos:
                self._repeated.add(message.mid)
            if forward is not None:
                forward(paho_client, userdata, message)

        self._paho.on_message = note_repeated

    async def subscribe(self, topics: Sequence[tuple[str, int]]) -> None:
        """Subscribe to (topic filter, QoS) pairs.

        Raises:
            Unreachable: the broker refused, or did not answer.
        """
        for at in range(0, len(topics), _TOPICS_A_REQUEST):
            part = topics[at : at + _TOPICS_A_REQUEST]
            try:
                if self._paho.protocol == MQTTProtocolVersion.MQTTv5:
                    keep = SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
                    options = [(topic, SubscribeOptions(qos=qos, retainHandling=keep)) for topic, qos in part]
                    granted = await self._client.subscribe(options)
                else:
                    granted = await self._client.subscribe(list(part))
            except aiomqtt.MqttError as error:
                raise Unreachable(f"{self._where}: the subscription failed: {error}") from error
            codes: Sequence[ReasonCode | int] = granted
            for (topic, _qos), code in zip(part, codes, strict=True):
                if _code(code) >= _REFUSED:
                    raise Unreachable(f"{self._where} refused the subscription to {topic!r}; allow it to this user")

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Yield messages as they arrive.

        Raises:
            Unreachable: the connection was lost.
        """
        try:
            async for message in self._client.messages:
                repeated = message.mid in self._repeated
                self._repeated.discard(message.mid)
                delivery = Delivery(
                    message.topic.value, message.payload, message.qos, message.retain, repeated, message.mid
                )
                if delivery.qos:
                    self._unacknowledged.append(delivery)
                yield delivery
        except aiomqtt.MqttError as error:
            raise Unreachable(f"{self._where}: the connection was lost: {error}; it is opened again") from error

    def done(self, delivery: Delivery) -> None:
        """Acknowledge a message as soon as all that came before it are done as well."""
        delivery.is_done = True
        waiting = self._unacknowledged
        while waiting and waiting[0].is_done:
            first = waiting.popleft()
            if self._paho.ack(first.packet_id, first.qos) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                # The connection is gone; the broker will send it again, and storing it twice is storing it once.
                return


@asynccontextmanager
async def open_session(
    connection: MqttConnection, client_id: str, topics: Sequence[tuple[str, int]], *, old_protocol: bool
) -> AsyncIterator[Session]:
    """Connect, take up the persistent session of `client_id`, and subscribe.

    Raises:
        OldBroker: the broker does not speak MQTT 5.
        Unreachable: there is no connection, or the broker refuses it.
    """
    where = f"mqtt://{connection.host}:{connection.port}"
    client = _client(connection, client_id, old_protocol=old_protocol)
    session = Session(client, where)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(client)
        except MqttConnectError as error:
            if _code(error.rc) in _UNSUPPORTED_VERSION and not old_protocol:
                raise OldBroker(f"{where} does not speak MQTT 5; MQTT 3.1.1 is used instead") from error
            raise Unreachable(f"{where} refused the connection: {error}; check user, password and client id") from error
        except aiomqtt.MqttError as error:
            raise Unreachable(f"{where} cannot be reached: {error}; check address, port and network") from error
        await session.subscribe(topics)
        honour_cancellation()
        yield session


def topic_matches(pattern: str, topic: str) -> bool:
    """Whether a topic belongs to a topic filter with + and #."""
    return aiomqtt.Topic(topic).matches(pattern)


def _code(reason: ReasonCode | int | None) -> int:
    if isinstance(reason, ReasonCode):
        return int(reason.value)
    return reason or 0


def _client(connection: MqttConnection, client_id: str, *, old_protocol: bool) -> aiomqtt.Client:
    common: dict[str, Any] = {
        "username": connection.username,
        "password": connection.password.get_secret_value() if connection.password else None,
        "identifier": client_id,
        "keepalive": connection.keepalive_s,
        "timeout": CONNECT_TIMEOUT_S,
    }
    if old_protocol:
        version = aiomqtt.ProtocolVersion.V311
        return aiomqtt.Client(connection.host, connection.port, protocol=version, clean_session=False, **common)
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no annotation there
    properties.SessionExpiryInterval = SESSION_EXPIRY_S
    properties.ReceiveMaximum = connection.max_in_flight
    version = aiomqtt.ProtocolVersion.V5
    return aiomqtt.Client(
        connection.host, connection.port, protocol=version, clean_start=False, properties=properties, **common
    )
