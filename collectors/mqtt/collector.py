"""Collector of one MQTT broker: a message is acknowledged when its reading is durable, or its poison kept.

    broker --> Session --> Routes --> JsonMapping --> Sink.deliver --> durable --> Session.done --> broker
                                          `-- BadPayload --> Sink.quarantine --^

Messages are mapped as they arrive, without a task for each. Of QoS 1 at most `max_in_flight` are under way at one time;
the broker keeps the others. Those of QoS 0 wait for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog

from collectors.mqtt.connecting import LastWill, open_session
from collectors.mqtt.mapping import JsonMapping
from collectors.mqtt.meter import Availability, MqttMeter, Routes
from collectors.mqtt.reconnecting import client_id_of, keep_session, reconnect_backoff
from collectors.mqtt.session import Delivery, Session
from emsd.collector import MeterHealth, MeterState, Poison, Sink
from emsd.errors import BadPayload, NotDurable, Unreachable
from emsd.plant.mqtt_connection import MqttConnection

__all__ = ["MqttCollector"]

log = structlog.get_logger(__name__)

LARGEST_POISON_BYTES: Final = 65_536
"""What is kept of a poison message; MQTT allows 256 MB [bytes]."""

FLEETING_POISONS: Final = 1_000
"""Poison messages of QoS 0 that wait for the database; further ones are given up and counted, not piled up."""


class MqttCollector:
    """Collector of one broker; see `emsd.collector.Collector`."""

    def __init__(
        self, connection: MqttConnection, meters: Sequence[MqttMeter], sink: Sink, now_us: Callable[[], int]
    ) -> None:
        self.name = connection.key
        self.unclaimed_messages = 0
        """Messages of no meter's topic: the session remembers subscriptions of an earlier plant. Acknowledged."""
        self.other_messages = 0
        """Messages on a topic that a device shares between its values and other things. Acknowledged."""
        self._connection = connection
        self._meters = tuple(meters)
        self._sink = sink
        self._now_us = now_us
        self._routes = Routes(meters)
        self._session: Session | None = None
        self._backoff = reconnect_backoff()
        self._under_way = 0
        """Messages of QoS 1 that were handed over and are not durable yet, of earlier sessions too."""
        self._fleeting_poisons = 0
        self._cut_off: dict[int, Delivery] = {}
        """By packet id: what an earlier session received and did not acknowledge. It will be delivered again."""
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
        topic = self._connection.online_topic
        will = None if topic is None else LastWill(topic, b"offline")
        topics = self._filters(old_protocol=old_protocol)
        async with open_session(
            self._connection, self._client_id, topics, old_protocol=old_protocol, will=will, now_us=self._now_us
        ) as session:
            await session.subscribe(self._routes.availability_topics, retained_always=True)
            if topic is not None:
                session.farewell = (topic, b"offline")
                await session.publish(topic, b"online", qos=1, retain=True)
            log.info("broker_connected", connection=self.name, topics=len(topics))
            self._session = session
            try:
                await self._consume(session)
            finally:
                self._session = None
                session.close()
                self._cut_off |= {each.packet_id: each for each in session.unacknowledged()}

    def _filters(self, *, old_protocol: bool) -> list[tuple[str, int]]:
        group = self._connection.share_group
        if group is None:
            return self._routes.topics
        if old_protocol:
            raise Unreachable(
                f"broker {self._connection.host} speaks only MQTT 3.1.1, which has no shared subscriptions; "
                f"take share_group out of connection {self.name}, or use a broker that speaks MQTT 5"
            )
        return [(f"$share/{group}/{pattern}", qos) for pattern, qos in self._routes.topics]

    async def _consume(self, session: Session) -> None:
        """Handle messages until the connection is lost.

        Raises:
            Unreachable: the connection was lost.
            NotDurable: a message could not be made durable.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                async for batch in session.batches(self._room):
                    for delivery in batch:
                        self._handle(session, delivery, tasks)
        except ExceptionGroup as group:
            if group.split((Unreachable, NotDurable))[1] is not None:
                raise
            raise group.exceptions[0] from None

    def _room(self) -> int:
        return self._connection.max_in_flight - self._under_way

    def _handle(self, session: Session, delivery: Delivery, tasks: asyncio.TaskGroup) -> None:
        """Hand over every meter's share of a message; it is acknowledged when all of them are durable."""
        routes = self._routes.of(delivery.topic)
        first_received_us = self._first_received_us(delivery) if delivery.qos else None
        if not routes:
            self.unclaimed_messages += 1
            log.debug("message_of_no_meter", connection=self.name, topic=delivery.topic)
        delivery.undecided = 1
        self._under_way += delivery.qos
        for meter, understood_by in routes:
            try:
                if isinstance(understood_by, Availability):
                    is_there = understood_by.read(delivery.payload)
                    self._note_availability(
                        meter, is_there=is_there, topic=delivery.topic, said_us=delivery.received_us
                    )
                else:
                    self._take(session, delivery, meter, understood_by, first_received_us)
            except BadPayload as error:
                self._poison(session, delivery, meter, error, tasks)
        self._settle(session, delivery)

    def _take(
        self, session: Session, delivery: Delivery, meter: MqttMeter, mapping: JsonMapping, first_us: int | None
    ) -> None:
        """Hand over one meter's reading of a message.

        Raises:
            BadPayload: it cannot become one.
        """
        health = meter.health
        mapped = mapping.read(
            delivery.payload, delivery.received_us,
            retained=delivery.retained, repeated=delivery.repeated, first_received_us=first_us,
        )  # fmt: skip
        health.values_rejected += mapped.rejected
        if mapped.reading is None:
            if mapped.why_none == "other_content":
                self.other_messages += 1
            else:
                health.errors[mapped.why_none] += 1
                health.polls_expected += 1
                health.polls_skipped += 1
        elif delivery.qos:
            delivery.undecided += 1
            self._sink.deliver(mapped.reading, partial(self._stored, session, delivery, meter))
        else:
            self._sink.offer(mapped.reading)
            self._succeeded(meter, delivery)

    def _stored(self, session: Session, delivery: Delivery, meter: MqttMeter, error: NotDurable | None) -> None:
        """Take note of what became of a reading.

        What a lost connection cut off is not counted here: it comes again, and counts then.
        """
        if error is not None:
            if not session.is_closed:
                self._failed(meter, "not_durable", str(error))
            self._give_back(session, delivery, error)
        elif not session.is_closed:
            self._succeeded(meter, delivery)
        self._settle(session, delivery)

    def _settle(self, session: Session, delivery: Delivery) -> None:
        """One share of a message is decided; with the last one the message is acknowledged, unless it is given back."""
        delivery.undecided -= 1
        if delivery.undecided or not delivery.qos:
            return
        self._under_way -= 1
        if not delivery.is_given_back:
            session.done(delivery)
            self._backoff.reset()
        if self._session is not None:
            self._session.resume()

    def _give_back(self, session: Session, delivery: Delivery, error: NotDurable) -> None:
        """Leave a message to the broker: it is never acknowledged, and the session begins anew."""
        delivery.is_given_back = True
        session.fail(error)

    def _poison(
        self, session: Session, delivery: Delivery, meter: MqttMeter, error: BadPayload, tasks: asyncio.TaskGroup
    ) -> None:
        self._failed(meter, "bad_payload", f"{delivery.topic}: {error}")
        if not delivery.qos:
            if self._fleeting_poisons >= FLEETING_POISONS:
                meter.health.errors["poison_given_up"] += 1
                return
            self._fleeting_poisons += 1
        delivery.undecided += 1
        poison = Poison(
            source=f"mqtt://{self._connection.host}:{self._connection.port}/{delivery.topic}",
            payload=delivery.payload[:LARGEST_POISON_BYTES],
            reason=str(error),
            received_us=delivery.received_us,
            meter_id=meter.health.meter_id,
            connection=self.name,
            topic=delivery.topic,
            qos=delivery.qos,
            retained=delivery.retained,
            payload_bytes=len(delivery.payload),
        )
        tasks.create_task(self._keep(session, delivery, poison), name=f"mqtt poison {delivery.topic}")

    async def _keep(self, session: Session, delivery: Delivery, poison: Poison) -> None:
        try:
            await self._sink.quarantine(poison)
        except NotDurable as error:
            self._give_back(session, delivery, error)
        except asyncio.CancelledError:
            delivery.is_given_back = True
            raise
        finally:
            if not delivery.qos:
                self._fleeting_poisons -= 1
            self._settle(session, delivery)

    def _first_received_us(self, delivery: Delivery) -> int | None:
        """Return when a message came first [us], if an earlier session of ours has received it.

        A broker that delivers again must use the same packet id (MQTT 5.0, 4.4).
        """
        if not self._cut_off:
            return None
        before = self._cut_off.pop(delivery.packet_id, None)
        if before is None or not delivery.repeated:
            return None
        if (before.topic, before.payload) != (delivery.topic, delivery.payload):
            return None
        delivery.received_us = before.received_us
        return before.received_us

    def _note_availability(self, meter: MqttMeter, *, is_there: bool, topic: str, said_us: int) -> None:
        if not is_there:
            meter.offline_since_us = said_us
            meter.health.last_error = f"the device is offline, says {topic}"
            self._set_state(meter, MeterState.DOWN)
        elif meter.offline_since_us is not None:
            meter.offline_since_us = None
            self._set_state(meter, MeterState.STARTING)

    def _succeeded(self, meter: MqttMeter, delivery: Delivery) -> None:
        health = meter.health
        health.polls_expected += 1
        health.polls_ok += 1
        health.last_ok_us = delivery.received_us
        health.round_trip_s = max(0, self._now_us() - delivery.received_us) / 1e6
        if health.state is MeterState.OK:
            return
        if meter.offline_since_us is None or (not delivery.retained and delivery.received_us > meter.offline_since_us):
            meter.offline_since_us = None  # who speaks is there
            self._set_state(meter, MeterState.OK)

    def _failed(self, meter: MqttMeter, kind: str, error: str) -> None:
        meter.health.polls_expected += 1
        meter.health.polls_failed += 1
        meter.health.errors[kind] += 1
        meter.health.last_error = error
        if meter.offline_since_us is None:
            self._set_state(meter, MeterState.DEGRADED)

    def _note_unreachable(self, error: str) -> None:
        for meter in self._meters:
            meter.health.errors["unreachable"] += 1
            meter.health.last_error = error
            meter.health.state = MeterState.DOWN

    def _set_state(self, meter: MqttMeter, state: MeterState) -> None:
        before, meter.health.state = meter.health.state, state
        if state is not before:
            error = None if state in {MeterState.OK, MeterState.STARTING} else meter.health.last_error
            log.info("meter_state", meter=meter.key, state=state.value, was=before.value, error=error)
