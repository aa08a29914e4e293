"""Messages on their way to the quarantine."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from emsd.collector import Poison
from emsd.errors import NotDurable, StoreError, StoreUnavailable

__all__ = ["PoisonQueue"]

log = structlog.get_logger(__name__)

POISONS_AT_ONCE: Final = 100
POISON_CAPACITY: Final = 10_000


class PoisonQueue:
    """First in, first out; each with a future that is done when its fate is known."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Poison, asyncio.Future[None]]] = deque()
        self.kept = 0
        """Messages that are durable."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def full(self) -> bool:
        """Whether no further message has room."""
        return len(self._waiting) >= POISON_CAPACITY

    def put(self, poison: Poison) -> asyncio.Future[None]:
        """Append a message and return what to await."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((poison, stored))
        return stored

    async def write(self, keep: Callable[[Sequence[Poison]], Awaitable[object]]) -> None:
        """Hand all to `keep`, some at once; those that it refuses for good are handed back.

        Raises:
            StoreUnavailable: `keep` did; nothing is forgotten.
        """
        while self._waiting:
            some = [self._waiting[place] for place in range(min(len(self._waiting), POISONS_AT_ONCE))]
            refusal: NotDurable | None = None
            try:
                await keep([poison for poison, _ in some])
                self.kept += len(some)
            except StoreUnavailable:
                raise
            except StoreError as error:
                refusal = NotDurable(str(error))
                log.exception("quarantine_refused", messages=len(some))
            for _, stored in some:
                self._waiting.popleft()
                if not stored.done():
                    stored.set_result(None) if refusal is None else stored.set_exception(refusal)

    def hand_back(self) -> None:
        """Refuse what waits, because the service stops."""
        for _, stored in self._waiting:
            if not stored.done():
                stored.set_exception(NotDurable("a message was not stored: the service stopped first"))
        self._waiting.clear()
