"""Messages between their arrival and their acknowledgement: what waits to be handed over, and what may be acknowledged.

Acknowledgements are due in the order of arrival (MQTT 5.0 and 3.1.1, section 4.6).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["Delivery", "Inbox"]


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
    received_us: int
    """Its arrival [us since the epoch]."""
    undecided: int = 0
    """How many of its readings are not durable yet; whoever hands it over counts."""
    is_done: bool = False
    is_given_back: bool = False
    """Never to be acknowledged, because a reading of it could not be made durable."""
    meaning: object = None
    """What it was understood to say, for whoever has to know when it comes again."""


class Inbox:
    """The messages of one connection."""

    __slots__ = ("_arrived", "_fleeting", "_unacknowledged")

    def __init__(self) -> None:
        self._arrived: deque[Delivery] = deque()
        self._fleeting: deque[Delivery] = deque()
        self._unacknowledged: deque[Delivery] = deque()

    @property
    def waits(self) -> bool:
        """Whether messages of QoS 1 wait to be handed over."""
        return bool(self._arrived)

    @property
    def unacknowledged(self) -> Collection[Delivery]:
        """The messages of QoS 1 that the broker has sent and will send again."""
        return self._unacknowledged

    def add(self, delivery: Delivery) -> None:
        """Take in a message that has arrived."""
        if delivery.qos:
            self._arrived.append(delivery)
            self._unacknowledged.append(delivery)
        else:
            self._fleeting.append(delivery)

    def take(self, room: int) -> list[Delivery]:
        """Return what is to be handed over: all of QoS 0, and of QoS 1 the oldest, at most `room`."""
        batch = list(self._fleeting)
        self._fleeting.clear()
        if room >= len(self._arrived):
            batch += self._arrived
            self._arrived.clear()
        else:
            batch += (self._arrived.popleft() for _ in range(max(room, 0)))
        return batch

    def due(self) -> list[int]:
        """Return the packet ids that may be acknowledged now, in this order, and forget them."""
        waiting = self._unacknowledged
        due = []
        while waiting and waiting[0].is_done:
            due.append(waiting.popleft().packet_id)
        return due
