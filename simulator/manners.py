"""Manners: how an endpoint treats its clients, by the faults in force and the personality of its devices."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from simulator.live_fault import LiveFault
from simulator.outbox import After, Step
from simulator.personality import Personality
from simulator.wire_faults import BUSY, FAULTS, ILLEGAL_VALUE, Draft, unit_of, work_on

__all__ = ["Habits", "Manners"]


class Habits:
    """How one device answers when nothing is wrong with it."""

    def __init__(self, personality: Personality, seed: int) -> None:
        self._own = personality
        self._chance = random.Random(seed)  # noqa: S311  (the same seed makes the same plant)
        self._asked_s = float("-inf")

    def work(self, draft: Draft, now_s: float) -> None:
        """Let it take its time, and refuse what is too much for it; `now_s` is of a clock that never goes back."""
        own, read = self._own, draft.read
        draft.delay_s = own.latency_s + self._chance.uniform(0.0, own.jitter_s)
        rested_s, self._asked_s = now_s - self._asked_s, now_s
        if rested_s < own.rest_s:
            draft.refuse(BUSY)
        elif read is not None and own.max_registers is not None and read[2] > own.max_registers and not draft.refused:
            draft.refuse(ILLEGAL_VALUE)


@dataclass(slots=True)
class Manners:
    """How an endpoint treats its clients while something is wrong with it, or its devices have a personality."""

    of_unit: Mapping[int, Sequence[LiveFault]] = field(default_factory=dict)
    """Faults that work on the answers of a unit."""
    habits: Mapping[int, Habits] = field(default_factory=dict)
    """Those of units that do not answer everything at once."""
    half_open: Mapping[int, LiveFault] = field(default_factory=dict)
    """By their number: faults that leave earlier connections without an answer."""
    held: Sequence[LiveFault] = ()
    """While there is one, nothing arrives either way."""
    dropped: Sequence[LiveFault] = ()
    """While there is one, every connection is reset."""
    refused: Sequence[LiveFault] = ()
    """While there is one, nobody listens."""
    crowded: Sequence[LiveFault] = ()
    """Turn away who comes while others are connected."""
    max_clients: int | None = None

    @classmethod
    def of(
        cls,
        faults: Sequence[LiveFault],
        units: Mapping[int, str],
        *,
        habits: Mapping[int, Habits],
        max_clients: int | None,
    ) -> Manners | None:
        """Make those of an endpoint whose `units` are meters; None when nothing is different.

        faults  those in force that concern the connection or one of its meters.
        """
        answers = sorted((e for e in faults if e.fault.kind in FAULTS), key=lambda e: FAULTS.index(e.fault.kind))
        of_unit = {
            unit: own for unit, meter in units.items() if (own := [each for each in answers if meter in each.meters])
        }
        of_kind = {
            name: [each for each in faults if each.fault.kind == name]
            for name in ("half_open", "partition", "connection_dropped", "connection_refused", "single_client")
        }
        if not (of_unit or habits or max_clients or any(of_kind.values())):
            return None
        return cls(
            of_unit,
            habits,
            {each.number: each for each in of_kind["half_open"]},
            of_kind["partition"],
            [*of_kind["connection_dropped"], *of_kind["connection_refused"]],
            of_kind["connection_refused"],
            of_kind["single_client"],
            max_clients,
        )

    def cut_off(self) -> None:
        """Count something that a partition has kept from arriving."""
        for live in self.held:
            live.hits += 1

    def turns_away(self, connected: int) -> After | None:
        """Return how a client is turned away that comes while so many are connected; STAY: it is never answered."""
        for live in self.crowded:
            if connected >= live.fault.number("clients"):
                live.hits += 1
                manner = live.fault.word("manner")
                return After.STAY if manner == "silent" else After(manner)
        if self.max_clients is not None and connected >= self.max_clients:
            return After.CLOSE
        return None

    def steps(self, draft: Draft) -> list[Step]:
        """Return what a client gets for a request, and when."""
        unit = unit_of(draft.request)
        habits = self.habits.get(unit)
        if habits is not None:
            habits.work(draft, time.monotonic())
        return work_on(draft, self.of_unit.get(unit, ()))
