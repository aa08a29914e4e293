"""Collector of the Sparkplug B edge nodes of one broker: a host application that only listens and asks for births.

    broker --> Session --> Host (edge nodes: births, aliases, sequence) --> Sink --> durable --> Session.done
      ^                      `-- birth wanted --> RebirthRequests --.
      `----------------------- NCMD Node Control/Rebirth -----------'

Sparkplug publishes nearly everything at QoS 0, which no broker keeps for us: such readings are offered as polled ones
are. What comes at QoS 1 is acknowledged when it is durable. The NCMD, and our own STATE, is all that is ever written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from collectors.mqtt.connecting import LastWill, open_session
from collectors.mqtt.reconnecting import client_id_of, keep_session, reconnect_backoff
from collectors.mqtt.session import Delivery, Session
from collectors.sparkplug.host import NAMESPACE, Host, SparkplugMeter
from collectors.sparkplug.intake import Intake
from collectors.sparkplug.payload import encode_rebirth_request
from collectors.sparkplug.rebirth import RebirthRequests
from collectors.sparkplug.state import says_offline, state_payload, state_topic
from collectors.sparkplug.tally import note_unreachable
from emsd.collector import MeterHealth, Sink
from emsd.errors import NotDurable, Unreachable
from emsd.plant.sparkplug_connection import SparkplugConnection

__all__ = ["SparkplugCollector"]

log = structlog.get_logger(__name__)

REQUEST_PAUSE_S: Final = 0.02
"""Between two requests for births [s]: a hundred nodes that answer at once would be a flood."""


class SparkplugCollector:
    """Collector of one broker; see `emsd.collector.Collector`."""

    def __init__(
        self,
        connection: SparkplugConnection,
        meters: Sequence[SparkplugMeter],
        sink: Sink,
        now_us: Callable[[], int],
    ) -> None:
        self.name = connection.key
        self.births_requested = 0
        self._connection = connection
        self._meters = tuple(meters)
        self._now_us = now_us
        self._host = Host(meters)
        self._requests = RebirthRequests(connection.rebirth_interval_s)
        self._birth_is_wanted = asyncio.Event()
        self._session: Session | None = None
        self._backoff = reconnect_backoff()
        self.intake = Intake(connection, self._host, sink, now_us=now_us, on_success=self._backoff.reset)
        self._state_topic = None if connection.host_id is None else state_topic(connection.host_id)
        self._client_id = client_id_of(connection, self.health())

    async def run(self) -> None:
        """Collect until cancelled; the connection is opened again for as long as it takes."""
        await keep_session(self.name, self._serve, self._backoff, self._note_unreachable)

    def health(self) -> Sequence[MeterHealth]:
        """Return the running totals of every meter of this broker."""
        return [meter.health for meter in self._meters]

    def connected(self) -> bool:
        """Whether there is a session with the broker."""
        return self._session is not None

    async def _serve(self, *, old_protocol: bool) -> None:
        """Hold one session with the broker until it is lost.

        Raises:
            Unreachable: there is no connection, or it was lost.
            NotDurable: a message could not be made durable.
        """
        began_ms = self._now_us() // 1000
        will = None if self._state_topic is None else LastWill(self._state_topic, state_payload(began_ms, online=False))
        topics = [(topic, 1) for topic in (*self._host.topics, *([] if will is None else [will.topic]))]
        async with open_session(
            self._connection, self._client_id, topics, old_protocol=old_protocol, will=will, now_us=self._now_us
        ) as session:
            await self._say_online(session, began_ms)
            log.info("broker_connected", connection=self.name, topics=len(topics))
            self._host.forget()  # at QoS 0 nothing was kept for us
            for node in self._host.nodes:
                self._requests.want(node, time.monotonic())
            self._session = session
            self.intake.began(session)
            try:
                await self._consume(session, began_ms)
            finally:
                self._session = None
                if self._state_topic is not None:
                    left_ms = max(began_ms, self._now_us() // 1000)
                    session.farewell = (self._state_topic, state_payload(left_ms, online=False))
                session.close()
                self.intake.ended(session)

    async def _consume(self, session: Session, began_ms: int) -> None:
        """Handle messages until the connection is lost.

        Raises:
            Unreachable: the connection was lost.
            NotDurable: a message could not be made durable.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ask_for_births(session), name=f"sparkplug births {self.name}")
                async for batch in session.batches(self.intake.room):
                    for delivery in batch:
                        self._take(session, delivery, began_ms, tasks)
        except ExceptionGroup as group:
            if group.split((Unreachable, NotDurable))[1] is not None:
                raise
            raise group.exceptions[0] from None

    async def _ask_for_births(self, session: Session) -> None:
        while True:
            node = self._requests.take(time.monotonic())
            if node is not None:
                request = encode_rebirth_request(self._now_us() // 1000)
                await session.publish(f"{NAMESPACE}/{node.group}/NCMD/{node.node}", request)
                self.births_requested += 1
                log.info("birth_requested", connection=self.name, node=str(node))
                await asyncio.sleep(REQUEST_PAUSE_S)
                continue
            self._birth_is_wanted.clear()
            due_s = self._requests.next_due_s
            try:
                async with asyncio.timeout(None if due_s is None else due_s - time.monotonic()):
                    await self._birth_is_wanted.wait()
            except TimeoutError:
                pass

    async def _say_online(self, session: Session, began_ms: int) -> None:
        if self._state_topic is not None:
            await session.publish(self._state_topic, state_payload(began_ms, online=True), qos=1, retain=True)

    def _take(self, session: Session, delivery: Delivery, began_ms: int, tasks: asyncio.TaskGroup) -> None:
        if delivery.topic == self._state_topic:
            session.done(delivery)
            # The will of a connection of ours that the broker took for alive until now.
            if not delivery.retained and says_offline(delivery.payload):
                tasks.create_task(self._say_online(session, began_ms), name=f"sparkplug state {self.name}")
            return
        effect = self.intake.take(session, delivery, tasks)
        if effect.node is None:
            return
        if effect.is_settled:
            self._requests.settled(effect.node)
        if effect.needs_birth:
            self._requests.want(effect.node, time.monotonic())
            self._birth_is_wanted.set()

    def _note_unreachable(self, error: str) -> None:
        for meter in self._meters:
            note_unreachable(meter, error)
