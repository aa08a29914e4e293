"""Tasks that are restarted when they fail, and never take another down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from emsd.collector import honour_cancellation
from emsd.errors import EmsdError

__all__ = ["Backoff", "supervise"]

_log = structlog.get_logger(__name__)

_HEALTHY_S: Final = 60.0
"""A task that ran this long [s] had recovered; its next failure starts with the shortest wait again."""


@dataclass(slots=True)
class Backoff:
    """Capped exponential waits with full jitter.

    Full jitter (a uniform wait up to the exponential one) spreads many clients that lost the same server best: M.
    Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    first_s: float = 0.5
    cap_s: float = 30.0
    attempt: int = 0

    def next_s(self) -> float:
        """Return the next wait [s]; at least a tenth of its bound, so that failures never spin."""
        bound_s = min(self.cap_s, self.first_s * 2.0 ** min(self.attempt, 30))
        self.attempt += 1
        return random.uniform(0.1 * bound_s, bound_s)  # noqa: S311 - spreads load, guards nothing

    def reset(self) -> None:
        """Begin again with the shortest wait."""
        self.attempt = 0


async def supervise(
    name: str, run: Callable[[], Awaitable[None]], *, on_failure: Callable[[str], None] = lambda _name: None
) -> None:
    """Keep `run` running until cancelled; restart it after a failure with capped, jittered backoff.

    `on_failure` is told the name each time, to count it.
    """
    backoff = Backoff()
    clock = asyncio.get_running_loop().time
    while True:
        began_s = clock()
        try:
            await run()
            _log.error("task_ended", task=name, reason="it should run until cancelled")
        except EmsdError as error:
            _log.error("task_failed", task=name, reason=str(error))
        except Exception as error:  # noqa: BLE001 - the edge of a supervised task: logged, counted, restarted
            _log.error("task_failed", task=name, reason=f"{type(error).__name__}: {error}", exc_info=error)
        honour_cancellation()
        on_failure(name)
        if clock() - began_s >= _HEALTHY_S:
            backoff.reset()
        wait_s = backoff.next_s()
        _log.info("task_restarts", task=name, wait_s=round(wait_s, 2))
        await asyncio.sleep(wait_s)
