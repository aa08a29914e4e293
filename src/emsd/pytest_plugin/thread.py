"""The event loop on which simulated devices live while tests run: in a thread of its own, so tests may be anything."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

import structlog

__all__ = ["Held", "Loop"]

Result = TypeVar("Result")
Opened = TypeVar("Opened")

_LONGEST_S: Final = 60.0
_NAME: Final = "emsd-simulator"


class Loop:
    """An event loop in a thread; everything of the simulator happens on it."""

    def __init__(self, longest_s: float = _LONGEST_S) -> None:
        """Start it.

        longest_s  how long a test waits for anything that it does [s]
        """
        self._longest_s = longest_s
        self._logs_by_thread = not structlog.is_configured()
        if self._logs_by_thread:
            structlog.configure(logger_factory=_logger_of_thread)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=_NAME, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return what a coroutine returns there.

        Raises:
            TimeoutError: it takes too long; it has been cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(self._longest_s)
        except TimeoutError as error:
            if future.done():
                raise  # its own
            raise TimeoutError(f"the simulator has not done what was asked within {self._longest_s:g} s") from error
        finally:
            future.cancel()

    def call(self, function: Callable[[], Result]) -> Result:
        """Return what a function returns there."""

        async def once() -> Result:
            return function()

        return self.run(once())

    def close(self) -> None:
        """Stop it; nothing may be open on it any more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(self._longest_s)
        self._loop.close()
        if self._logs_by_thread:
            structlog.reset_defaults()


class Held:
    """Asynchronous blocks that stay open until the test is over, each entered and left by one and the same task."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self._over = loop.call(asyncio.Event)
        self._tasks: list[asyncio.Task[None]] = []

    def enter(self, block: AbstractAsyncContextManager[Opened]) -> Opened:
        """Enter a block, and return what it yields.

        Raises:
            TimeoutError: it does not open in time; it has been cancelled.
        """

        async def enter() -> Opened:
            opened: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._hold(block, opened), name="emsd-fixture")
            self._tasks.append(task)
            try:
                return await opened
            except asyncio.CancelledError:
                task.cancel()
                raise

        return self.loop.run(enter())

    async def _hold(self, block: AbstractAsyncContextManager[Opened], opened: asyncio.Future[Opened]) -> None:
        try:
            async with block as found:
                if not opened.done():
                    opened.set_result(found)
                    await self._over.wait()
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(error)

    def leave(self) -> None:
        """Leave every block.

        Raises:
            BaseExceptionGroup: blocks ended, or were left, with errors; all have been left.
        """

        async def leave() -> None:
            self._over.set()
            ended = await asyncio.gather(*self._tasks, return_exceptions=True)
            errors = [each for each in ended if isinstance(each, BaseException)]
            wrong = [each for each in errors if not isinstance(each, asyncio.CancelledError)]
            if wrong:
                raise BaseExceptionGroup("simulated devices ended with errors", wrong)

        self.loop.run(leave())


def _logger_of_thread(*names: str) -> Any:
    """Return where an event goes: of the simulator to `logging`, where pytest has it, else where structlog has it.

    structlog's own default is standard output, which belongs to the tests: to their `capsys` and `pytest -s`.
    """
    if threading.current_thread().name == _NAME:
        return logging.getLogger(*(names or ("simulator",)))
    return structlog.PrintLogger()
