"""What processes use, by Linux' /proc: resident memory and processor time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Usage", "growth_mb_per_min", "resident_mb", "sparkline", "usage_of", "usage_of_tree"]

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_BARS: Final = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time of a process [s]; that of children which have ended is counted where `children` says so."""

    parent: int
    own_s: float
    ended_children_s: float


def usage_of(pid: int) -> Usage:
    """Read /proc/PID/stat; raises OSError when there is no such process.

    Source of the fields: proc(5), counted after the name in parentheses, which may hold spaces.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own, ended = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    return Usage(int(fields[1]), own / _TICKS_PER_S, ended / _TICKS_PER_S)


def usage_of_tree(pid: int) -> float:
    """Return the processor time [s] of a process and its direct children, ended ones included."""
    total = 0.0
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                usage = usage_of(int(folder.name))
            except OSError:
                continue
            if int(folder.name) == pid:
                total += usage.own_s + usage.ended_children_s
            elif usage.parent == pid:
                total += usage.own_s
    return total


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process [MB]."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 1e6


def growth_mb_per_min(samples: Sequence[tuple[float, float]]) -> float:
    """Return the slope of (time [s], memory [MB]) samples by least squares [MB/min]; 0 for fewer than two."""
    if len(samples) < 2:
        return 0.0
    mean_s = sum(each[0] for each in samples) / len(samples)
    mean_mb = sum(each[1] for each in samples) / len(samples)
    spread = sum((at - mean_s) ** 2 for at, _ in samples)
    return 60.0 * sum((at - mean_s) * (mb - mean_mb) for at, mb in samples) / spread if spread else 0.0


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """Return a line of bars from the least to the greatest value, at most `width` long."""
    if not values:
        return ""
    step = max(1.0, len(values) / width)
    shown = [values[int(place * step)] for place in range(int(len(values) / step))]
    low, high = min(shown), max(shown)
    return "".join(_BARS[1 + round((value - low) / (high - low) * 7) if high > low else 1] for value in shown)
