"""One connection to a broker with a persistent session; with `connecting` all that knows aiomqtt and paho.

aiomqtt keeps the connection, paho lies under it. Two things are done here instead of by them:

- Packets are read many at a time (`collectors.mqtt.frames`), and messages go straight into a queue of ours. paho reads
  byte by byte and one packet an event, and aiomqtt's queue costs a task a message.
- Messages are acknowledged by hand, when they are durable; aiomqtt knows no such thing. They are acknowledged in the
  order of arrival, as MQTT 5.0 (4.6) and 3.1.1 (4.6) want it, and those that are due together in one write.

Memory is bounded by the protocol: at QoS 1 a broker may have no more unacknowledged messages under way than the receive
maximum that we name (MQTT 5), and never more than 65,535 (packet ids have 16 bits). Messages of QoS 0 are handed over
as they come; while they are handled nothing is read, so that the broker, not we, has to keep them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Final

import aiomqtt
from paho.mqtt.enums import MessageType, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from collectors.mqtt.client import Client
from collectors.mqtt.frames import PUBACK, Frames, MalformedFrame, publish_of
from collectors.mqtt.inbox import Delivery, Inbox
from emsd.collector import honour_cancellation
from emsd.errors import CollectError, NotDurable, Unreachable

__all__ = ["Delivery", "Session", "number_of", "topic_matches"]

READ_BYTES: Final = 32_768
"""Most that is read before other tasks have their turn: some hundred messages of ten values."""

_REFUSED: Final = 0x80
_TOPICS_A_REQUEST: Final = 200
_NO_BOUND: Final = 1 << 62


class Session:
    """An open connection; made by `collectors.mqtt.connecting.open_session`."""

    def __init__(self, client: Client, where: str, now_us: Callable[[], int]) -> None:
        """Prepare a client that is not connected yet: what a broker has kept comes with the connection."""
        self._client = client
        self._where = where
        self._now_us = now_us
        self._frames = Frames()
        self._inbox = Inbox()
        self._wake = asyncio.Event()
        self._failure: CollectError | NotDurable | None = None
        self._flush_is_due = False
        self._closed = False
        self.farewell: tuple[str, bytes] | None = None
        """(Topic, payload) to leave behind, retained, when we go by ourselves: the last will is then not published."""
        self._paho = client._client  # noqa: SLF001 - aiomqtt offers no way to acknowledge by hand
        self._with_properties = self._paho.protocol == MQTTProtocolVersion.MQTTv5
        setattr(self._paho, "_packet_read", self._read)  # noqa: B010 - a method to mypy, which may not be assigned

    async def subscribe(self, topics: Sequence[tuple[str, int]], *, retained_always: bool = False) -> None:
        """Subscribe to (topic filter, QoS) pairs.

        retained_always  have what the broker retained each time, not only with a subscription that it did not know

        Raises:
            Unreachable: the broker refused, or did not answer.
        """
        keep = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if retained_always else SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
        for at in range(0, len(topics), _TOPICS_A_REQUEST):
            part = topics[at : at + _TOPICS_A_REQUEST]
            try:
                if self._with_properties:
                    options = [(topic, SubscribeOptions(qos=qos, retainHandling=keep)) for topic, qos in part]
                    granted = await self._client.subscribe(options)
                else:
                    granted = await self._client.subscribe(list(part))
            except aiomqtt.MqttError as error:
                raise Unreachable(f"{self._where}: the subscription failed: {error}") from error
            codes: Sequence[ReasonCode | int] = granted
            for (topic, _qos), code in zip(part, codes, strict=True):
                if number_of(code) >= _REFUSED:
                    raise Unreachable(f"{self._where} refused the subscription to {topic!r}; allow it to this user")

    async def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """Publish a message and return when the broker has it: at QoS 0 when it is on its way, else when acknowledged.

        Raises:
            Unreachable: the connection was lost, or the broker did not answer.
        """
        try:
            await self._client.publish(topic, payload, qos=qos, retain=retain)
        except aiomqtt.MqttError as error:
            raise Unreachable(f"{self._where}: publishing to {topic!r} failed: {error}; it is tried again") from error
        honour_cancellation()

    async def batches(self, room: Callable[[], int] = lambda: _NO_BOUND) -> AsyncIterator[list[Delivery]]:
        """Yield all messages that have arrived, as soon as there are some.

        `room` says how many of QoS 1 may be handed over now; who makes room calls `resume`. Those of QoS 0 never wait
        behind them.

        Raises:
            Unreachable: the connection was lost.
            CollectError, NotDurable: what `fail` was given.
        """
        lost = self._client._disconnected  # noqa: SLF001 - aiomqtt tells it only to who reads its queue
        lost.add_done_callback(self._wake_up)
        try:
            while True:
                if self._failure is not None:
                    raise self._failure
                # What was not taken before the connection was lost comes again; at QoS 0 this is the only chance.
                if batch := self._inbox.take(0 if lost.done() else room()):
                    yield batch
                    await asyncio.sleep(0)
                elif lost.done():
                    raise Unreachable(
                        f"{self._where}: the connection was lost; it is opened again"
                    ) from lost.exception()
                else:
                    self._wake.clear()
                    await self._wake.wait()
        finally:
            lost.remove_done_callback(self._wake_up)

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Yield messages one by one; otherwise as `batches`."""
        async for batch in self.batches():
            for delivery in batch:
                yield delivery

    def resume(self) -> None:
        """There is room again for messages that wait."""
        if self._inbox.waits:
            self._wake.set()

    def fail(self, failure: CollectError | NotDurable) -> None:
        """Let `batches` end with an error: what is not acknowledged comes again only on a new connection."""
        if self._failure is None:
            self._failure = failure
            self._wake.set()

    def done(self, delivery: Delivery) -> None:
        """Acknowledge a message as soon as all that came before it are done as well."""
        delivery.is_done = True
        if not self._flush_is_due and not self._closed and delivery.qos:
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    @property
    def is_closed(self) -> bool:
        """Whether its connection is gone, so that what was not acknowledged on it will be delivered again."""
        return self._closed

    def unacknowledged(self) -> Collection[Delivery]:
        """Return the messages of QoS 1 that the broker has sent and will send again."""
        return self._inbox.unacknowledged

    def close(self) -> None:
        """Acknowledge what is done and say farewell; nothing is acknowledged after that."""
        if self._closed:
            return
        self._flush()
        self._closed = True
        if self.farewell is not None and not self._client._disconnected.done():  # noqa: SLF001
            topic, payload = self.farewell
            self._paho.publish(topic, payload, qos=1, retain=True)  # goes out before the DISCONNECT

    def abandon(self) -> None:
        """Close the socket if it is still open: aiomqtt forgets it when a connection fails half-way."""
        if self._paho.socket() is not None:
            self._paho._sock_close()  # noqa: SLF001

    def _flush(self) -> None:
        """Acknowledge all that is due in one write; on a connection that is gone it is lost, and all comes again."""
        self._flush_is_due = False
        due = [PUBACK.pack(MessageType.PUBACK, 2, packet_id) for packet_id in self._inbox.due()]
        if due and not self._closed:
            self._paho._packet_queue(MessageType.PUBACK, b"".join(due), 0, 1)  # noqa: SLF001 - paho.ack writes each alone

    def _wake_up(self, _lost: asyncio.Future[None]) -> None:
        self._wake.set()

    def _read(self) -> MQTTErrorCode:
        """Stand in for paho's way to read a packet: read what there is, keep messages here, give paho the rest."""
        paho = self._paho
        try:
            data = paho._sock_recv(READ_BYTES)  # noqa: SLF001
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_AGAIN
        except OSError as error:
            return self._lost(str(error))
        if not data:
            return self._lost("the broker closed the connection")
        received_us = self._now_us()
        try:
            for first, body in self._frames.cut(data):
                if first & 0xF0 == MessageType.PUBLISH and first & 0x04 == 0:
                    self._arrive(first, body, received_us)
                else:
                    status = self._for_paho(first, body)
                    if status != MQTTErrorCode.MQTT_ERR_SUCCESS:
                        return status
        except (MalformedFrame, MalformedPacket):
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        paho._last_bytes_received = time.monotonic()  # noqa: SLF001
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _lost(self, reason: str) -> MQTTErrorCode:
        self._client.hung_up(reason)
        return MQTTErrorCode.MQTT_ERR_CONN_LOST

    def _arrive(self, first: int, body: bytes, received_us: int) -> None:
        topic, payload, qos, retained, repeated, packet_id = publish_of(first, body, properties=self._with_properties)
        self._inbox.add(Delivery(topic, payload, qos, retained, repeated, packet_id, received_us))
        self._wake.set()

    def _for_paho(self, first: int, body: bytes) -> MQTTErrorCode:
        """Let paho handle a packet that is no message, as if it had read it itself."""
        self._paho._in_packet = {  # noqa: SLF001
            "command": first,
            "have_remaining": 1,
            "remaining_count": [],
            "remaining_mult": 1,
            "remaining_length": len(body),
            "packet": bytearray(body),
            "to_process": 0,
            "pos": 0,
        }
        return self._paho._packet_handle()  # noqa: SLF001


def topic_matches(pattern: str, topic: str) -> bool:
    """Whether a topic belongs to a topic filter with + and #."""
    return aiomqtt.Topic(topic).matches(pattern)


def number_of(reason: ReasonCode | int | None) -> int:
    """Return a broker's reason as the number that MQTT gives it; 0 when there is none."""
    if isinstance(reason, ReasonCode):
        return int(reason.value)
    return reason or 0
