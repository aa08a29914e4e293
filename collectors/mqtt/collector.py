"""Collector of one MQTT broker: a message is acknowledged when its reading is durable, or its poison kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog

from collectors.backoff import Backoff
from collectors.mqtt.mapping import JsonMapping
from collectors.mqtt.session import Delivery, OldBroker, Session, open_session, topic_matches
from emsd.collector import BoundMeter, MeterHealth, MeterState, Poison, Sink, honour_cancellation
from emsd.errors import BadPayload, NotDurable, Unreachable
from emsd.plant.mqtt_connection import MqttConnection

__all__ = ["MqttCollector", "MqttMeter"]

log = structlog.get_logger(__name__)

RECONNECT_BASE_S: Final = 0.5
RECONNECT_CAP_S: Final = 30.0
LARGEST_POISON_BYTES: Final = 65_536
"""What is kept of a poison message; MQTT allows 256 MB [bytes]."""

_IDS_A_SITE: Final = 1_000_000
"""Meter ids of a site begin at its number times this."""


class MqttMeter:
    """A meter with its topic, its mapping and its health.

    Raises:
        ValueError: its profile has no usable mqtt map, or it has no topic.
    """

    def __init__(self, bound: BoundMeter) -> None:
        self.mapping = JsonMapping(bound)
        if bound.profile.mqtt is None or not bound.meter.topic:
            raise ValueError("a meter on an MQTT connection needs a topic")
        self.key = bound.meter.key
        self.pattern = bound.profile.mqtt.topic.replace("{topic}", bound.meter.topic)
        self.qos: int = bound.profile.mqtt.qos
        self.health = MeterHealth(bound.meter_id)


class MqttCollector:
    """Collector of one broker; see `emsd.collector.Collector`."""

    def __init__(
        self, connection: MqttConnection, meters: Sequence[MqttMeter], sink: Sink, now_us: Callable[[], int]
    ) -> None:
        self.name = connection.key
        self.unclaimed_messages = 0
        """Messages of no meter's topic: the session remembers subscriptions of an earlier plant. Acknowledged."""
        self._connection = connection
        self._meters = tuple(meters)
        self._sink = sink
        self._now_us = now_us
        self._session: Session | None = None
        self._exact: dict[str, list[MqttMeter]] = {}
        self._wild: list[MqttMeter] = []
        qos_of: dict[str, int] = {}
        for meter in meters:
            qos_of[meter.pattern] = max(meter.qos, qos_of.get(meter.pattern, 0))
            if "+" in meter.pattern or "#" in meter.pattern:
                self._wild.append(meter)
            else:
                self._exact.setdefault(meter.pattern, []).append(meter)
        self._topics = sorted(qos_of.items())
        site = meters[0].health.meter_id // _IDS_A_SITE if meters else 0
        self._client_id = connection.client_id or f"emsd-{site}-{connection.key}"

    async def run(self) -> None:
        """Collect until cancelled; the connection is opened again for as long as it takes."""
        backoff = Backoff(RECONNECT_BASE_S, RECONNECT_CAP_S)
        old_protocol = False
        while True:
            honour_cancellation()
            try:
                async with open_session(
                    self._connection, self._client_id, self._topics, old_protocol=old_protocol
                ) as session:
                    log.info("broker_connected", connection=self.name, topics=len(self._topics))
                    self._session = session
                    try:
                        await self._consume(session, backoff)
                    finally:
                        self._session = None
            except OldBroker as error:
                log.info("broker_speaks_mqtt_3", connection=self.name, reason=str(error))
                old_protocol = True
            except Unreachable as error:
                self._unreachable(error, backoff.failures)
                await asyncio.sleep(backoff.next_s())
            except NotDurable as error:
                # Unacknowledged messages come again only on a new connection.
                log.warning("readings_not_durable", connection=self.name, error=str(error))
                await asyncio.sleep(backoff.next_s())

    def health(self) -> Sequence[MeterHealth]:
        """Return the running totals of every meter of this broker."""
        return [meter.health for meter in self._meters]

    def connected(self) -> bool:
        """Whether there is a session with the broker."""
        return self._session is not None

    async def _consume(self, session: Session, backoff: Backoff) -> None:
        """Handle messages until the connection is lost, at most `max_in_flight` at one time.

        Raises:
            Unreachable: the connection was lost.
            NotDurable: a message could not be made durable.
        """
        # What needs no acknowledgement must not wait behind what does: it would pile up here without bound.
        acknowledged, unacknowledged = (asyncio.Semaphore(self._connection.max_in_flight) for _ in range(2))
        try:
            async with asyncio.TaskGroup() as tasks:
                async for delivery in session.deliveries():
                    slots = acknowledged if delivery.qos else unacknowledged
                    await slots.acquire()
                    task = tasks.create_task(self._handle(session, delivery, backoff), name=f"mqtt {delivery.topic}")
                    task.add_done_callback(partial(_release, slots))
        except ExceptionGroup as group:
            if group.split((Unreachable, NotDurable))[1] is not None:
                raise
            raise group.exceptions[0] from None

    async def _handle(self, session: Session, delivery: Delivery, backoff: Backoff) -> None:
        meters = self._exact.get(delivery.topic, ()) or [
            meter for meter in self._wild if topic_matches(meter.pattern, delivery.topic)
        ]
        if not meters:
            self.unclaimed_messages += 1
            log.debug("message_of_no_meter", connection=self.name, topic=delivery.topic)
        for meter in meters:
            await self._take(meter, delivery)
        session.done(delivery)
        backoff.reset()

    async def _take(self, meter: MqttMeter, delivery: Delivery) -> None:
        """Make one meter's share of a message durable.

        It is counted once its outcome is known: one that is cut off on the way comes again, and counts then.

        Raises:
            NotDurable: that was not possible now.
        """
        health = meter.health
        received_us = self._now_us()
        try:
            mapped = meter.mapping.read(
                delivery.payload, received_us, retained=delivery.retained, repeated=delivery.repeated
            )
            health.values_rejected += mapped.rejected
            if mapped.reading is None:
                health.errors["retained_without_time"] += 1
                health.polls_expected += 1
                health.polls_skipped += 1
                return
            if delivery.qos:
                await self._sink.store(mapped.reading)
            else:
                self._sink.offer(mapped.reading)
        except BadPayload as error:
            self._failed(meter, "bad_payload", f"{delivery.topic}: {error}")
            await self._sink.quarantine(
                Poison(
                    source=f"mqtt://{self._connection.host}:{self._connection.port}/{delivery.topic}",
                    payload=delivery.payload[:LARGEST_POISON_BYTES],
                    reason=str(error),
                    received_us=received_us,
                    meter_id=health.meter_id,
                )
            )
            return
        except NotDurable as error:
            self._failed(meter, "not_durable", str(error))
            raise
        health.polls_expected += 1
        health.polls_ok += 1
        health.last_ok_us = received_us
        health.round_trip_s = max(0, self._now_us() - received_us) / 1e6
        self._set_state(meter, MeterState.OK)

    def _failed(self, meter: MqttMeter, kind: str, error: str) -> None:
        meter.health.polls_expected += 1
        meter.health.polls_failed += 1
        meter.health.errors[kind] += 1
        meter.health.last_error = error
        self._set_state(meter, MeterState.DEGRADED)

    def _unreachable(self, error: Unreachable, failures_before: int) -> None:
        if failures_before == 0:
            log.warning("broker_unreachable", connection=self.name, error=str(error))
        for meter in self._meters:
            meter.health.errors["unreachable"] += 1
            meter.health.last_error = str(error)
            meter.health.state = MeterState.DOWN

    def _set_state(self, meter: MqttMeter, state: MeterState) -> None:
        before, meter.health.state = meter.health.state, state
        if state is not before:
            error = meter.health.last_error if state is MeterState.DEGRADED else None
            log.info("meter_state", meter=meter.key, state=state.value, was=before.value, error=error)


def _release(slots: asyncio.Semaphore, _done: asyncio.Task[None]) -> None:
    slots.release()
