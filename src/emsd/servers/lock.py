"""A lock between processes that the kernel releases when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from emsd.errors import ServerError

__all__ = ["file_lock"]

RETRY_INTERVAL_S = 0.05


@contextmanager
def file_lock(path: Path, *, timeout_s: float = 600.0, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold `path` against every other process (and thread) until the block ends.

    The file stays behind on purpose: deleting it would let a third process lock another file of the same name.
    `on_wait` is called once if somebody else holds the lock.

    Raises:
        ServerError: another process held it for `timeout_s` [s].
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _acquire(descriptor, path, timeout_s, on_wait)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, timeout_s: float, on_wait: Callable[[], None] | None) -> None:
    deadline = time.monotonic() + timeout_s
    waited = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise ServerError(
                    f"another emsd process has held {path} for {timeout_s:.0f} s; end it, then try again"
                ) from None
        else:
            return
        if not waited and on_wait is not None:
            on_wait()
        waited = True
        time.sleep(RETRY_INTERVAL_S)
