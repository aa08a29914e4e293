"""What a plant's meters and assets see: rows of power, and how meters add up at every bus.

A row is a function of time on the knots of a day; a term is a row times a positive factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from emsd.plant.models import AssetKind
from simulator.rules import Rule

__all__ = ["AssetView", "Node", "RowBook", "Term", "Topology"]


class Term(NamedTuple):
    """A row times a factor >= 0."""

    row: int
    factor: float


@dataclass(frozen=True, slots=True)
class Node:
    """What one energy meter sees: active [kW], reactive [kvar] and apparent power [kVA]."""

    active: Term
    reactive: Term
    apparent: Term
    generator: bool


@dataclass(frozen=True, slots=True)
class AssetView:
    """What controllers and sensors of an asset see of it."""

    kind: AssetKind
    rated_kw: float
    load: Term
    """How hard it works, 0..1."""
    heat: Term
    """Heat or cold that it gives [kW]."""
    receiver: Term
    """How full its air receiver is, 0..1."""
    active: Term
    running: Term
    work: Term
    """What its production goes by [kW]."""
    starts: Term
    """How often its machine starts [1/h]."""
    drive: Term
    """1 where its motor has a variable-speed drive, 0 where it runs at mains frequency."""


@dataclass(frozen=True, slots=True)
class Topology:
    """All rows of a plant, in an order in which each needs only those before it."""

    rules: tuple[Rule, ...]
    rows: Mapping[str, int]
    """Row by name."""
    nodes: Mapping[str, Node]
    assets: Mapping[str, AssetView]
    children: Mapping[str, tuple[str, ...]]
    unmetered: Mapping[str, Term]
    """By meter: what flows through it beyond the sum of its children."""
    mirrors: frozenset[str]
    """Controllers that report what a meter of the same asset measures; they are on no bus."""


@dataclass(slots=True)
class RowBook:
    """The rows of a plant while they are found, each under its name, and the rules that compute them."""

    rules: list[Rule] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)

    def row(self, name: str, rule: Rule) -> int:
        """Add a row and return its place; none is added twice."""
        return self.several((name,), rule)

    def several(self, names: Sequence[str], rule: Rule) -> int:
        """Add the rows that one rule computes, and return the first; none is added twice."""
        if names[0] not in self.rows:
            start = len(self.rows)
            self.rows |= {name: start + place for place, name in enumerate(names)}
            self.rules.append(rule)
        return self.rows[names[0]]
