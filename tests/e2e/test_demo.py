"""The main job end to end: what `make demo` runs, with a service that is killed on the way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import memory_or_disk

ROOT = Path(__file__).parents[2]
FIGURES = re.compile(r"plant [\d,.]+ kW")


class Demo:
    """A running `emsd demo`; its lines are read in a thread, so that it never waits for us."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "emsd", "demo", "--port", "0", *options],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(memory_or_disk())},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name="demo-output", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def wait_for(self, pattern: re.Pattern[str], timeout_s: float) -> None:
        with self._changed:
            found = self._changed.wait_for(lambda: pattern.search(self.text) is not None, timeout_s)
        assert found, f"{pattern.pattern} did not appear in:\n{self.text}"

    def service_pid(self) -> int:
        """The demo's child that runs the service."""
        for child in _children(self.process.pid):
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            if words[1:4] == [b"-m", b"emsd", b"run"]:
                return child
        raise AssertionError("the demo has no service")

    def wait(self, timeout_s: float) -> int:
        code = self.process.wait(timeout_s)
        self._reader.join()
        return code


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        yield from (int(child) for child in (task / "children").read_text().split())


@pytest.fixture
def demo() -> Iterator[Demo]:
    running = Demo("--duration", "45", "--seed", "3")
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGINT)
            running.process.wait(60)


def test_every_meter_is_right_although_the_service_is_killed_in_the_middle(demo: Demo) -> None:
    demo.wait_for(FIGURES, 120)
    os.kill(demo.service_pid(), signal.SIGKILL)
    code = demo.wait(200)
    assert code == 0, demo.text
    assert "the service was restarted 1 times (last exit -9)" in demo.text
    assert "every meter is right" in demo.text
    assert "0 of them not stored; 0 quarantined; 0 readings lost" in demo.text
    assert re.search(r"alarm Cleanroom over-pressure low .*unacknowledged", demo.text), demo.text
    assert "delivered to on-call: ALARM (high): Cleanroom over-pressure low" in demo.text
    wanted = {"incomer", "cleanroom-exhaust", "pv-1-inverter", "compressor-2-feeder", "chiller-2-feeder"}
    assert wanted <= set(re.findall(r"│ ([a-z0-9-]+) +│ (?:import|export)", demo.text))
