"""Whether power adds up: at every bus, what comes in less what goes on, in proportion to what passes it."""

from __future__ import annotations

import numpy as np

from simulator.noise import FloatArray, IntArray
from simulator.truth import SimulatedPlant

__all__ = ["bus_residuals"]


def bus_residuals(physics: SimulatedPlant, time_us: IntArray) -> dict[str, FloatArray]:
    """Return by the meter of each bus its residual at many times, of the bus's throughput [1].

    The throughput is the sum of the absolute powers of all meters on the bus, and of what nobody meters.
    """
    found = {}
    for parent, children in physics.topology.children.items():
        above = physics.power_series_kw(parent, time_us)
        below = np.array([physics.power_series_kw(child, time_us) for child in children])
        rest = physics.unmetered_series_kw(parent, time_us)
        throughput = np.abs(above) + np.abs(below).sum(axis=0) + np.abs(rest)
        difference = above - below.sum(axis=0) - rest
        found[parent] = np.divide(difference, throughput, out=np.zeros(difference.shape), where=throughput > 0)
    return found
