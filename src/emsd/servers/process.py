"""Processes and ports of this machine: start as another account, recognise our own, wait with a deadline."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from emsd.errors import ServerError
from emsd.servers.places import Account

__all__ = [
    "LOOPBACK",
    "ask",
    "choose_port",
    "exists",
    "free_port",
    "is_alive",
    "port_is_free",
    "processes_in",
    "run",
    "terminate",
    "wait_until",
]

LOOPBACK = "127.0.0.1"
POLL_INTERVAL_S = 0.02
# Of the caller's environment, what would make a program load other libraries or speak another language.
KEPT_VARIABLES = ("HOME", "PATH", "TMPDIR", "TZ")
# How long execve may leave a process without arguments: microseconds, here with all the room a busy machine needs.
_EXEC_LOOKS = 100
_EXEC_LOOK_EVERY_S = 0.002


def ask(command: Sequence[str | Path], timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run a tool of this machine in the caller's environment and return what it printed, errors apart.

    Raises:
        ServerError: it did not end within `timeout_s` [s].
    """
    try:
        return subprocess.run(  # noqa: S603  (a list of arguments, no shell)
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise _too_slow(command, timeout_s) from error


def run(
    command: Sequence[str | Path],
    *,
    account: Account | None,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 120.0,
) -> subprocess.CompletedProcess[str]:
    """Run a program of a server to its end as `account` in `folder` and return what it printed, errors included.

    Raises:
        ServerError: it did not end within `timeout_s` [s].
    """
    variables = {name: value for name in KEPT_VARIABLES if (value := os.environ.get(name)) is not None}
    # The machine's OpenSSL configuration belongs to the machine's OpenSSL, which is perhaps another version.
    variables |= {"LC_ALL": "C", "OPENSSL_CONF": "/dev/null", **(environment or {})}
    identity: dict[str, int] = {} if account is None else {"user": account.uid, "group": account.gid}
    try:
        return subprocess.run(  # type: ignore[call-overload,no-any-return]  # noqa: S603  (**identity; a list, no shell)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=timeout_s,
            cwd=folder,
            env=variables,
            umask=0o077,
            start_new_session=True,
            extra_groups=None if account is None else (),
            **identity,
        )
    except subprocess.TimeoutExpired as error:
        raise _too_slow(command, timeout_s) from error


def _too_slow(command: Sequence[str | Path], timeout_s: float) -> ServerError:
    return ServerError(f"{Path(command[0]).name} did not finish within {timeout_s:.0f} s; try again")


def exists(pid: int) -> bool:
    """Whether any process has the number `pid`."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def is_alive(pid: int, marker: str) -> bool:
    """Whether process `pid` runs and has `marker` among its arguments, so that it is the one we started.

    A process number alone proves nothing: after a crash or a reboot it may belong to any other program.
    """
    if not exists(pid):
        return False
    proc = Path("/proc")
    if (proc / "self").exists():
        return marker in _arguments(proc / str(pid))
    return marker in ask(["ps", "-ww", "-o", "command=", "-p", str(pid)]).stdout


def _arguments(process: Path) -> list[str]:
    """Return the arguments of a process in /proc; none of one that has ended.

    For an instant within execve(2) a living process has no arguments; that instant is waited for. A process that has
    ended and is not yet collected (state Z) has none either, nor has a thread of the kernel.
    """
    for _ in range(_EXEC_LOOKS):
        try:
            arguments = (process / "cmdline").read_bytes()
            state = (process / "stat").read_bytes().rpartition(b")")[2].split()[0]
        except (OSError, IndexError):
            return []
        if arguments or state == b"Z":
            return arguments.decode(errors="replace").split("\0")
        time.sleep(_EXEC_LOOK_EVERY_S)
    return []


def processes_in(folder: Path) -> list[int]:
    """The processes whose working folder is `folder`; where there is no /proc, none can be told."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
        except OSError:
            continue  # ended meanwhile, or another account's
    return found


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until `condition` holds, at most `timeout_s` [s]; says whether it came to hold."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True


def terminate(pid: int, marker: str, signals: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Send `signals` in turn to our process `pid`, each with its patience [s], until it is gone; says if it is."""
    for kind, patience_s in signals:
        if not is_alive(pid, marker):
            return True
        os.kill(pid, kind)
        if wait_until(lambda: not is_alive(pid, marker), patience_s):
            return True
    return not is_alive(pid, marker)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback interface now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def choose_port(wanted: int | None, before: int | None, server: str) -> int:
    """`wanted` if given, else the port of `before` if it is free, else any free one.

    Raises:
        ServerError: `wanted` is in use.
    """
    if wanted is not None:
        if not port_is_free(wanted):
            raise ServerError(f"{server} cannot listen on {LOOPBACK}:{wanted}, which is in use; choose another port")
        return wanted
    return before if before is not None and port_is_free(before) else free_port()
