"""How long to wait before trying something again that failed: exponential, capped and jittered.

Jitter keeps many collectors that lost the same gateway or broker from coming back in step. See Marc Brooker,
Exponential Backoff And Jitter, AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random

__all__ = ["Backoff"]

_LARGEST_EXPONENT = 30


class Backoff:
    """Delays of one thing that fails again and again.

    The n-th delay is drawn between `least_share` and 1 times min(cap_s, base_s * 2^n): 0 is full jitter, 0.5 keeps half
    of the delay certain, for a probe that costs others time.
    """

    __slots__ = ("_base_s", "_cap_s", "_failures", "_least_share", "_random")

    def __init__(self, base_s: float, cap_s: float, *, least_share: float = 0.0) -> None:
        self._base_s = base_s
        self._cap_s = max(base_s, cap_s)
        self._least_share = least_share
        self._random = random.SystemRandom()
        self._failures = 0

    @property
    def failures(self) -> int:
        """How often it failed since the last success."""
        return self._failures

    def next_s(self) -> float:
        """Count one more failure and return how long to wait [s]."""
        ceiling_s = min(self._cap_s, self._base_s * 2.0 ** min(self._failures, _LARGEST_EXPONENT))
        self._failures += 1
        return ceiling_s * self._random.uniform(self._least_share, 1.0)

    def reset(self) -> None:
        """Forget all failures: it worked."""
        self._failures = 0
