"""A place for one supervised task that can be exchanged while the service runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from emsd.supervision import supervise

__all__ = ["Slot"]


class Slot:
    """Holds at most one task in a task group; `name` is what log and metrics call it."""

    def __init__(self, group: asyncio.TaskGroup, name: str, on_failure: Callable[[str], None]) -> None:
        self.name = name
        self._group = group
        self._on_failure = on_failure
        self._task: asyncio.Task[None] | None = None

    def start(self, run: Callable[[], Awaitable[None]]) -> None:
        """Start the task of an empty place."""
        if self._task is not None:
            raise RuntimeError(f"{self.name} runs already")
        supervised = supervise(self.name, run, on_failure=self._on_failure)
        self._task = self._group.create_task(supervised, name=self.name)

    async def stop(self) -> None:
        """End the task, if there is one, and return when it has ended."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def replace(self, run: Callable[[], Awaitable[None]]) -> None:
        """End the task, if there is one, and start another in its place."""
        await self.stop()
        self.start(run)
