"""The service as a process of its own, so that it can be killed, and started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ServiceProcess", "service_process"]

_RESTART_AFTER_S = 1.0
_STOP_WITHIN_S = 10.0


@dataclass(slots=True)
class ServiceProcess:
    """The process that runs now."""

    pid: int = 0
    restarts: int = 0
    last_exit: int | None = None
    """Exit code of the process before; negative is the signal that killed it."""
    stopped_with: int | None = None
    """Exit code after it was asked to stop."""


@asynccontextmanager
async def service_process(environment: Mapping[str, str], log_file: Path) -> AsyncIterator[ServiceProcess]:
    """Run `emsd run` with this environment until the block ends; start it anew whenever it ends by itself.

    At the end it is asked to stop by SIGTERM, and killed if it has not stopped within 10 s.
    """
    state = ServiceProcess()
    stopping = asyncio.Event()
    with log_file.open("ab") as log:
        keeper = asyncio.create_task(_keep_running(state, stopping, environment, log.fileno()), name="service-keeper")
        try:
            yield state
        finally:
            stopping.set()
            await keeper


async def _keep_running(
    state: ServiceProcess, stopping: asyncio.Event, environment: Mapping[str, str], log: int
) -> None:
    while not stopping.is_set():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "emsd", "run", env=dict(environment), stdin=asyncio.subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        state.pid = process.pid
        ended = asyncio.create_task(process.wait(), name="service-wait")
        stop = asyncio.create_task(stopping.wait(), name="service-stop")
        try:
            await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.is_set():
                state.stopped_with = await _stop(process)
                return
        finally:
            stop.cancel()
            if process.returncode is None:
                process.kill()
            await ended
        state.last_exit = process.returncode
        state.restarts += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _RESTART_AFTER_S)


async def _stop(process: asyncio.subprocess.Process) -> int:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        return await asyncio.wait_for(asyncio.shield(process.wait()), _STOP_WITHIN_S)
    except TimeoutError:
        process.kill()
        return await process.wait()
