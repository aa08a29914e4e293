"""What one process of emsd does, and which part of a plant's connections it collects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Self

from emsd.errors import SettingsError

__all__ = ["Role", "Shard"]


class Role(StrEnum):
    """`run` does everything in one process; `collect` and `serve` share it between processes."""

    RUN = "run"
    COLLECT = "collect"
    """Devices to database: collectors, pipeline, spool, alarms of its meters."""
    SERVE = "serve"
    """Database to people: API, accounting, delivery of notifications."""

    @property
    def collects(self) -> bool:
        """Whether it reads devices."""
        return self is not Role.SERVE

    @property
    def accounts(self) -> bool:
        """Whether it turns readings into intervals and delivers notifications."""
        return self is not Role.COLLECT


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` (from 1) of `count` parts that together collect every connection once."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the shard that `i/n` names.

        Raises:
            SettingsError: it is not such a text.
        """
        first, slash, second = text.partition("/")
        if slash and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second) <= 1000:
            return cls(int(first), int(second))
        raise SettingsError(f"shard {text!r} is not i/n with 1 <= i <= n <= 1000, such as 1/4")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def owns(self, connection_key: str) -> bool:
        """Whether this part collects a connection.

        Rendezvous hashing: every process decides alike without asking, and one part more or less moves only the
        connections that it gains or loses (Thaler and Ravishankar, IEEE/ACM Transactions on Networking 6, 1998).
        """
        return self.number == max(range(1, self.count + 1), key=lambda part: _weight(connection_key, part))

    def part_of(self, connection_keys: Iterable[str]) -> frozenset[str]:
        """Return those connections that this part collects."""
        return frozenset(key for key in connection_keys if self.owns(key))


def _weight(connection_key: str, part: int) -> bytes:
    return blake2b(f"{connection_key}\0{part}".encode(), digest_size=8).digest()
