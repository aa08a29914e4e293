"""Chance that can be asked for any instant, in any order, and always answers the same.

Ordinary generators give the next number; here a number belongs to an index (a lattice point in time), so that a day can
be computed without the days before it. Everything is vectorised over the index, and over streams.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

__all__ = ["BoolArray", "FloatArray", "IntArray", "Stream", "smooth", "steps", "stream", "uniform", "uniform_of"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Stream = npt.NDArray[np.uint64]
"""One or more independent sources of chance, as uint64[n] with n >= 1."""

# Constants of SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_TO_UNIT = 2.0**-53
_SMALL = 64


def stream(seed: int, *names: str) -> Stream:
    """Return the stream of chance called `names` under `seed`, shape [1]."""
    digest = hashlib.blake2b("\0".join((str(seed), *names)).encode(), digest_size=8).digest()
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def uniform(source: Stream, index: IntArray) -> FloatArray:
    """Return the number in [0, 1) that belongs to each index; `source` and `index` broadcast."""
    if source.size == 1 and index.size > _SMALL:
        # Neighbouring knots share their lattice points: over a day the numbers are few and asked for often.
        first, last = int(index.min()), int(index.max())
        if last - first < index.size:
            return _mixed(source, np.arange(first, last + 1, dtype=np.int64))[index - first]
    return _mixed(source, index)


def _mixed(source: Stream, index: IntArray) -> FloatArray:
    """SplitMix64 of a counter."""
    z = source + (index.astype(np.uint64) + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    z ^= z >> np.uint64(31)
    unit: FloatArray = (z >> np.uint64(11)).astype(np.float64) * _TO_UNIT
    return unit


def uniform_of(seed: int, *names: str) -> float:
    """Return the one number in [0, 1) called `names` under `seed`."""
    return float(uniform(stream(seed, *names), np.zeros(1, dtype=np.int64))[0])


def smooth(source: Stream, time_s: FloatArray, period_s: float) -> FloatArray:
    """Return noise in [-1, 1] that is continuous in time and changes its mind about every `period_s` [s].

    Value noise: uniform numbers on a lattice of `period_s`, joined by 3u2 - 2u3.
    """
    position = time_s / period_s
    lattice = np.floor(position)
    fraction = position - lattice
    index = lattice.astype(np.int64)
    left = uniform(source, index)
    right = uniform(source, index + 1)
    blend = fraction * fraction * (3.0 - 2.0 * fraction)
    return 2.0 * (left + (right - left) * blend) - 1.0


def steps(source: Stream, knot: IntArray, period: int, ramp: int) -> FloatArray:
    """Return numbers in [0, 1) that hold for `period` knots, each reached by a straight ramp of `ramp` knots."""
    block = knot // period
    share = np.minimum((knot - block * period) / ramp, 1.0)
    before = uniform(source, block - 1)
    after = uniform(source, block)
    return before + (after - before) * share
