"""Which machines of a group run: as few as carry the load of the next half hour, each week another one first.

A sequencer decides once in a block of knots, by the greatest load that the block will see, so that no history is
needed to know what runs. Blocks begin with days; a machine comes on or goes off within the first minute of one.
"""

from __future__ import annotations

import numpy as np

from simulator.noise import FloatArray, IntArray
from simulator.physics.day import KNOT_S

__all__ = ["BLOCK_KNOTS", "running_shares", "starts_per_hour"]

BLOCK_KNOTS = 180
"""Half an hour."""

_RAMP_KNOTS = 6
_WEEK_BLOCKS = 7 * 48
_FULL = 0.96  # a sequencer starts the next machine before those that run are full


def running_shares(knot: IntArray, load: FloatArray, capacities: FloatArray, first: int = 0) -> FloatArray:
    """Return how much of each machine runs, 0 or 1 and between them while it starts or stops, [machines, knots].

    knot        knots since 1970-01-01: whole blocks, and the first knot of the next
    load        what the group must carry, in the unit of `capacities`, at each knot
    capacities  [machines] or [machines, blocks]
    first       how many of the machines come first in every week; the others take turns
    """
    blocks = (knot.size - 1) // BLOCK_KNOTS
    peak = load[:-1].reshape(blocks, BLOCK_KNOTS).max(axis=1)
    size = np.broadcast_to(capacities.reshape(capacities.shape[0], -1), (capacities.shape[0], blocks))
    number = int(knot[0]) // BLOCK_KNOTS + np.arange(blocks)
    order = _order(size.shape[0], first, number // _WEEK_BLOCKS)
    block = np.arange(blocks)
    before = np.cumsum(size[order, block], axis=0) - size[order, block]
    on = np.empty(size.shape)
    on[order, block] = before < peak / _FULL
    return _ramped(on)


def starts_per_hour(running: FloatArray) -> FloatArray:
    """Return how often machines start [1/h], at each knot: the integral over a start is 1.

    running  what running_shares returns
    """
    rise = np.diff(running, axis=1, prepend=running[:, :1])
    rate: FloatArray = np.maximum(rise, 0.0) * 3600.0 / KNOT_S
    return rate


def _order(machines: int, first: int, week: IntArray) -> IntArray:
    """Return which machine has which rank, [machines, blocks]."""
    rank = np.arange(machines)[:, None]
    others = max(machines - first, 1)
    turned = first + (rank - first + week[None, :]) % others
    order: IntArray = np.where(rank < first, rank, turned)
    return order


def _ramped(on: FloatArray) -> FloatArray:
    """Spread the state of blocks over their knots, each reached from the one before within a minute."""
    before = np.concatenate([on[:, :1], on[:, :-1]], axis=1)
    share = np.minimum(np.arange(BLOCK_KNOTS) / _RAMP_KNOTS, 1.0)
    inside = before[:, :, None] + (on - before)[:, :, None] * share
    return np.concatenate([inside.reshape(on.shape[0], -1), on[:, -1:]], axis=1)
