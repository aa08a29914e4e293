"""How a Sparkplug B device speaks: which metric holds which quantity, as data; values are given in canonical units.

Sparkplug B fixes how metrics travel, not what they are called: each plant names them in its own edge nodes.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from emsd.plant.entry import Entry
from emsd.quantities import BY_NAME, RunState

__all__ = ["SparkplugMap", "SparkplugValue"]


class SparkplugValue(Entry):
    """One quantity in the metrics of an edge node or of a device on it."""

    quantity: str = Field(description="Canonical quantity that it delivers.")
    metric: str = Field(min_length=1, description="Name of the metric, with its folders: Energy/Import.")
    scale: float = Field(default=1.0, description="Metric to canonical unit: factor.")
    add: float = Field(default=0.0, description="Metric to canonical unit: what is added after scaling.")
    states: dict[int, RunState] | None = Field(default=None, description="Number of the metric to run state.")
    rollover_at: float | None = Field(default=None, gt=0, description="Counter modulus in the quantity's unit.")
    count: float | None = Field(default=None, gt=0, description="Resolution of a counter, in the quantity's unit.")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.quantity not in BY_NAME:
            raise ValueError(f"quantity {self.quantity!r} is not in the vocabulary")
        if (self.states is not None) != (self.quantity == "run_state"):
            raise ValueError("states belong to run_state, and run_state needs them")
        return self


class SparkplugMap(Entry):
    """How to understand a device's Sparkplug B metrics; metrics that are not listed are left alone."""

    reporting: Literal["periodic", "by_exception"] = Field(
        default="by_exception", description="Whether every message is complete, or carries only what changed."
    )
    values: tuple[SparkplugValue, ...] = Field(min_length=1, description="Quantities and the names of their metrics.")

    @model_validator(mode="after")
    def _each_quantity_once(self) -> Self:
        names = [value.quantity for value in self.values]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"quantity {', '.join(twice)} stands at more than one metric")
        return self
