"""Helpers in processes of their own, so that what is measured shares no interpreter with what measures it.

A helper prints one line of JSON when it is ready and stops when its standard input is closed, which also happens when
the benchmark dies: nothing stays behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["REPOSITORY", "Helper", "helper", "run_helper", "tell_and_wait"]

REPOSITORY: Final = Path(__file__).resolve().parents[1]
_READY_WITHIN_S: Final = 120.0
_STOP_WITHIN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Helper:
    """A helper that runs: its process number and what it said when it was ready."""

    pid: int
    said: Mapping[str, Any]


@asynccontextmanager
async def helper(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[Helper]:
    """Run `python -m module` with arguments, and `environment` on top of ours, until the block ends.

    Raises:
        RuntimeError: it ended, or said nothing for two minutes, before it was ready.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, cwd=REPOSITORY,
        env={**os.environ, **(environment or {})}, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        async with asyncio.timeout(_READY_WITHIN_S):
            line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"{module} ended before it was ready; its own words stand above")
        yield Helper(process.pid, json.loads(line))
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def tell_and_wait(said: Mapping[str, Any]) -> None:
    """Say that this helper is ready, and return when its standard input is closed."""
    print(json.dumps(said), flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)


def run_helper(work: Callable[[], Awaitable[None]]) -> None:
    """Run a helper on uvloop, as the service runs."""
    import uvloop

    async def run() -> None:
        await work()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
