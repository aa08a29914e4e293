"""When to ask which edge node for its births again: soon, but seldom.

A birth is a node's largest message, and a node that is asked stops sending data until it has sent it. One that does not
answer is asked less and less often; one that answers and is still not understood, no more than once an interval.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["NodeName", "RebirthRequests"]

LONGEST_INTERVAL_S: Final = 300.0


class NodeName(NamedTuple):
    """What tells one edge node from all others of a broker."""

    group: str
    node: str

    def __str__(self) -> str:
        return f"{self.group}/{self.node}"


class RebirthRequests:
    """Which nodes are to be asked, and when; times are those of a monotonic clock [s]."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._due_s: dict[NodeName, float] = {}
        self._asked_s: dict[NodeName, float] = {}
        self._unanswered: dict[NodeName, int] = {}

    def want(self, node: NodeName, now_s: float) -> None:
        """Ask a node as soon as it may be asked again, unless that is planned already."""
        if node not in self._due_s:
            asked_s = self._asked_s.get(node)
            self._due_s[node] = now_s if asked_s is None else max(now_s, asked_s + self._interval_s)

    def settled(self, node: NodeName) -> None:
        """Note that a node has answered, or is gone and will be born again by itself."""
        self._due_s.pop(node, None)
        self._unanswered.pop(node, None)

    @property
    def next_due_s(self) -> float | None:
        """When the next node is to be asked, None when there is none."""
        return min(self._due_s.values(), default=None)

    def take(self, now_s: float) -> NodeName | None:
        """Return a node that is to be asked now, and plan the next try in case it does not answer."""
        node = min(self._due_s, key=self._due_s.__getitem__, default=None)
        if node is None or self._due_s[node] > now_s:
            return None
        tries = self._unanswered[node] = self._unanswered.get(node, 0) + 1
        wait_s = min(self._interval_s * 2.0 ** min(tries - 1, 30), max(LONGEST_INTERVAL_S, self._interval_s))
        self._asked_s[node] = now_s
        self._due_s[node] = now_s + wait_s
        return node
