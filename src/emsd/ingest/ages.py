"""How old readings are when they are committed: a histogram that costs a batch one pass over its arrivals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np

__all__ = ["BOUNDS_S", "AgeHistogram", "Ages"]

BOUNDS_S: Final = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the buckets [s]; one more holds what is older."""


@dataclass(frozen=True, slots=True)
class AgeHistogram:
    """Ages of committed readings so far, counted by bucket of BOUNDS_S, each with its upper bound included."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    sum_s: float = 0.0

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """Yield (upper bound [s] as text, how many are not older), as Prometheus wants a histogram."""
        bounds = (*(f"{bound:g}" for bound in BOUNDS_S), "+Inf")
        return zip(bounds, accumulate(self.counts), strict=True)


class Ages:
    """Counts ages; only its owner adds."""

    def __init__(self) -> None:
        self._bounds = np.array(BOUNDS_S)
        self._counts = np.zeros(len(BOUNDS_S) + 1, dtype=np.int64)
        self._sum_s = 0.0

    def add(self, arrivals_s: Iterable[float], committed_s: float) -> None:
        """Count readings that arrived at `arrivals_s` and were committed at `committed_s`, by one clock [s]."""
        ages = committed_s - np.fromiter(arrivals_s, np.float64)
        places = np.searchsorted(self._bounds, ages, side="left")
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._sum_s += float(ages.sum())

    def histogram(self) -> AgeHistogram:
        """Return all that was counted until now."""
        return AgeHistogram(tuple(self._counts.tolist()), self._sum_s)
