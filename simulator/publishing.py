"""A meter that publishes: its beat, and what became of its messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from emsd.plant.models import Meter
from simulator.clock import seconds_until
from simulator.message_faults import MessageFaults

__all__ = ["PublishingMeter"]


@dataclass(slots=True)
class PublishingMeter:
    """One meter that has something to say on its beat.

    published  beats whose messages were sent
    lost       beats whose messages were not, because there was no connection or a fault kept them back
    """

    meter: Meter
    published: int = field(default=0, kw_only=True)
    lost: int = field(default=0, kw_only=True)
    faults: MessageFaults = field(default_factory=MessageFaults, repr=False, kw_only=True)
    """What is wrong with its messages."""
    next_tick: int = field(default=0, repr=False, kw_only=True)
    """The beat that is due next, in poll intervals since 1970."""

    @property
    def interval_us(self) -> int:
        """Time between two beats [us]."""
        return round(self.meter.poll_interval_s * 1e6)

    def begin(self, now_us: int) -> None:
        """Let the next beat be the first that counts."""
        self.next_tick = now_us // self.interval_us + 1

    def miss(self, now_us: int) -> None:
        """Count the beats that have gone by without it as lost."""
        following = now_us // self.interval_us + 1
        self.lost += max(0, following - self.next_tick)
        self.next_tick = max(following, self.next_tick)

    async def beat(self, now_us: Callable[[], int]) -> None:
        """Wait for its next beat; those that have gone by are lost."""
        self.miss(now_us())
        await asyncio.sleep(seconds_until(now_us, self.next_tick * self.interval_us))
        self.next_tick += 1
