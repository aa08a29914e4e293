"""One quantity of a SunSpec device, by the names of its points in whichever models the device has."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from emsd.plant.entry import Entry
from emsd.quantities import BY_NAME, Kind, RunState

__all__ = ["SunspecPoint"]

PointName = Annotated[str, Field(pattern=r"^([A-Za-z][A-Za-z0-9_]*\[\d+\]\.)?[A-Za-z][A-Za-z0-9_]*$")]


class SunspecPoint(Entry):
    """One quantity and its point in each SunSpec model that may carry it.

    The first model that the device has counts. Type, address, unit, scale factor and "not implemented" come from the
    published definition of that model.
    """

    quantity: str = Field(description="Canonical quantity that it delivers.")
    names: dict[int, PointName] = Field(
        min_length=1,
        description="Model number to the point's name, preferred models first; group[0].Name in a repeating group.",
    )
    scale: float = Field(default=1.0, description="Further factor beside units and scale factor; -1 turns the sign.")
    add: float = Field(default=0.0, description="What is added after scaling, in the canonical unit.")
    states: dict[int, dict[int, RunState]] | None = Field(
        default=None, description="Model number to its codes to canonical run states."
    )
    interval_s: float | None = Field(
        default=None, gt=0, description="Read no more often than this [s]; absent: every poll."
    )
    count: float | None = Field(
        default=None, gt=0, description="Resolution of a counter, in the quantity's unit; absent: not known."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.quantity not in BY_NAME:
            raise ValueError(f"quantity {self.quantity!r} is not in the vocabulary")
        if (self.states is not None) != (self.quantity == "run_state"):
            raise ValueError("states belong to run_state, and run_state needs them")
        if self.states is not None and set(self.states) != set(self.names):
            raise ValueError("states are needed for exactly the models that are named")
        return self

    @property
    def counter_modulus(self) -> None:
        """Not known: the device decides model and scale factor, and with them where its counter starts again."""
        return

    @property
    def counter_count(self) -> float | None:
        """One count of the counter, in the quantity's unit; None for gauges and where it is not known."""
        return None if BY_NAME[self.quantity].kind is Kind.GAUGE else self.count
