"""Recognising our own processes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from emsd.servers.process import is_alive

MARKER = "30.25"


def program(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]


def test_a_process_is_alive_also_while_it_becomes_another_program() -> None:
    """Within execve(2) a process has no arguments; taken for dead there, a server that just starts was given up."""
    for _ in range(50):
        with subprocess.Popen(["/bin/sh", "-c", 'exec "$0" "$1"', "/bin/sleep", MARKER]) as process:
            try:
                while program(process.pid) != b"/bin/sleep":
                    assert is_alive(process.pid, MARKER)
                assert is_alive(process.pid, MARKER)
            finally:
                process.kill()


def test_a_process_that_ended_or_is_another_is_not_alive() -> None:
    with subprocess.Popen(["/bin/sleep", MARKER]) as process:
        assert not is_alive(process.pid, "another marker")
        process.kill()
        process.wait()
        assert not is_alive(process.pid, MARKER)
