"""A message's way in: from what it means to durable readings, and then to its acknowledgement."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from collectors.mqtt.session import Delivery, Session
from collectors.sparkplug.host import Effect, Host
from collectors.sparkplug.tally import count, note_lives, note_not_durable
from emsd.collector import Poison, Sink
from emsd.errors import NotDurable
from emsd.plant.sparkplug_connection import SparkplugConnection

__all__ = ["Intake"]

LARGEST_POISON_BYTES: Final = 65_536
"""What is kept of a poison message; MQTT allows 256 MB [bytes]."""

FLEETING_POISONS: Final = 1_000
"""Poison messages of QoS 0 that wait for the database; further ones are given up and counted, not piled up."""


class Intake:
    """Takes the messages of one broker, session after session.

    `on_success` is called when a message has been taken whole.
    """

    def __init__(
        self,
        connection: SparkplugConnection,
        host: Host,
        sink: Sink,
        *,
        now_us: Callable[[], int],
        on_success: Callable[[], None],
    ) -> None:
        self.retained_messages = 0
        """Messages that the broker kept, against the rules of Sparkplug: nobody knows how old they are. Left alone."""
        self.poisons_given_up = 0
        self._connection = connection
        self._host = host
        self._sink = sink
        self._now_us = now_us
        self._on_success = on_success
        self._under_way = 0
        """Messages of QoS 1 that were handed over and are not durable yet, of earlier sessions too."""
        self._fleeting_poisons = 0
        self._session: Session | None = None
        self._meanings: dict[Delivery, Effect] = {}
        """Messages of QoS 1 of this session, at least those that are not acknowledged."""
        self._most_meanings = 0
        self._cut_off: dict[int, tuple[Delivery, Effect]] = {}
        """By packet id: what an earlier session understood and did not acknowledge. It will be delivered again."""

    def room(self) -> int:
        """How many messages of QoS 1 may be taken now."""
        return self._connection.max_in_flight - self._under_way

    def began(self, session: Session) -> None:
        """Take the messages of this session from now on."""
        self._session = session

    def ended(self, session: Session) -> None:
        """Keep what a session has understood and not acknowledged: it comes again, when its births may be outdated."""
        self._session = None
        self._keep_meanings(session)
        self._cut_off |= {each.packet_id: (each, effect) for each, effect in self._meanings.items()}
        self._meanings.clear()

    def take(self, session: Session, delivery: Delivery, tasks: asyncio.TaskGroup) -> Effect:
        """Hand over what a message means, and return it; the message is acknowledged when all of it is durable."""
        effect = self._effect(session, delivery)
        delivery.undecided = 1
        self._under_way += delivery.qos
        for share in effect.shares:
            for reading in share.mapped.readings:
                if delivery.qos:
                    delivery.undecided += 1
                    self._sink.deliver(reading, partial(self._stored, session, delivery, effect))
                else:
                    self._sink.offer(reading)
        reason = effect.bad or next((each.mapped.problem for each in effect.shares if each.mapped.problem), None)
        if reason is not None:
            self._poison(session, delivery, effect, reason, tasks)
        self._settle(session, delivery, effect)
        return effect

    def _effect(self, session: Session, delivery: Delivery) -> Effect:
        """Return what a message means; the edge node's state goes on with it, so each is asked only once."""
        before = self._cut_off.pop(delivery.packet_id, None) if delivery.qos and self._cut_off else None
        if before is not None and delivery.repeated and _is_same(before[0], delivery):
            effect = before[1]
        elif delivery.retained:
            self.retained_messages += 1
            return Effect()
        else:
            effect = self._host.receive(
                delivery.topic, delivery.payload, delivery.received_us, repeated=delivery.repeated
            )
            note_lives(effect)
        if delivery.qos:
            if len(self._meanings) >= self._most_meanings:
                self._keep_meanings(session)
            self._meanings[delivery] = effect
        return effect

    def _keep_meanings(self, session: Session) -> None:
        """Forget what has been acknowledged; seldom enough to cost nothing."""
        waiting = session.unacknowledged()
        self._meanings = {each: self._meanings[each] for each in waiting if each in self._meanings}
        self._most_meanings = self._connection.max_in_flight + 2 * len(self._meanings)

    def _stored(self, session: Session, delivery: Delivery, effect: Effect, error: NotDurable | None) -> None:
        if error is not None:
            self._give_back(session, delivery, effect, error)
        self._settle(session, delivery, effect)

    def _settle(self, session: Session, delivery: Delivery, effect: Effect) -> None:
        """One part of a message is decided; with the last one it is counted and acknowledged, unless given back.

        What a lost connection cut off is not counted here: it comes again, and counts then.
        """
        delivery.undecided -= 1
        if delivery.undecided:
            return
        if not delivery.is_given_back and not (delivery.qos and session.is_closed):
            count(effect, delivery.received_us, max(0, self._now_us() - delivery.received_us) / 1e6)
            self._on_success()
        if delivery.qos:
            self._under_way -= 1
            if not delivery.is_given_back:
                session.done(delivery)
            if self._session is not None:
                self._session.resume()

    def _give_back(self, session: Session, delivery: Delivery, effect: Effect, error: NotDurable) -> None:
        """Leave a message to the broker: it is never acknowledged, and the session begins anew."""
        if not delivery.qos:
            return
        if not delivery.is_given_back and not session.is_closed:
            note_not_durable(effect, str(error))
        delivery.is_given_back = True
        session.fail(error)

    def _poison(
        self, session: Session, delivery: Delivery, effect: Effect, reason: str, tasks: asyncio.TaskGroup
    ) -> None:
        if not delivery.qos:
            if self._fleeting_poisons >= FLEETING_POISONS:
                self.poisons_given_up += 1
                return
            self._fleeting_poisons += 1
        delivery.undecided += 1
        concerned = [share.meter.health.meter_id for share in effect.shares if share.mapped.problem]
        poison = Poison(
            source=f"mqtt://{self._connection.host}:{self._connection.port}/{delivery.topic}",
            payload=delivery.payload[:LARGEST_POISON_BYTES],
            reason=reason,
            received_us=delivery.received_us,
            meter_id=concerned[0] if len(concerned) == 1 else None,
            connection=self._connection.key,
            topic=delivery.topic,
            qos=delivery.qos,
            retained=delivery.retained,
            payload_bytes=len(delivery.payload),
        )
        tasks.create_task(self._keep(session, delivery, effect, poison), name=f"sparkplug poison {delivery.topic}")

    async def _keep(self, session: Session, delivery: Delivery, effect: Effect, poison: Poison) -> None:
        try:
            await self._sink.quarantine(poison)
        except NotDurable as error:
            self.poisons_given_up += not delivery.qos
            self._give_back(session, delivery, effect, error)
        except asyncio.CancelledError:
            delivery.is_given_back = True
            raise
        finally:
            self._fleeting_poisons -= not delivery.qos
            self._settle(session, delivery, effect)


def _is_same(before: Delivery, now: Delivery) -> bool:
    return (before.topic, before.payload) == (now.topic, now.payload)
