"""Virtual meters, whose energy is computed of other meters', and what the residual of a meter's bus is."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from emsd.plant.entry import Entry, Key

__all__ = ["Residual", "VirtualMeter"]

Band = Annotated[tuple[float, float], Field(description="Lowest and highest usual value.")]


class Residual(Entry):
    """What a meter counts and the meters below it do not."""

    kind: Literal["losses", "unmetered_load"] = Field(
        default="losses",
        description="losses: of cables and transformers; unmetered_load: consumers without a meter of their own.",
    )
    band_percent: Band | None = Field(
        default=None, description="Usual residual, [lowest, highest], in percent of what came onto the bus."
    )
    band_kw: Band | None = Field(default=None, description="Usual residual, [lowest, highest] [kW].")

    @model_validator(mode="after")
    def _bands_in_order(self) -> Self:
        for name, band in (("band_percent", self.band_percent), ("band_kw", self.band_kw)):
            if band is not None and band[0] >= band[1]:
                raise ValueError(f"{name} [{band[0]:g}, {band[1]:g}] must go from the lowest to the highest")
        return self


class VirtualMeter(Entry):
    """A meter that nobody can touch: sums and differences of other meters' energy."""

    key: Key
    name: str = Field(description="What people call it.")
    asset: Key
    expression: str = Field(
        min_length=1,
        description="Keys of meters with + - * / and parentheses, blanks around minus: incomer - 0.98 * (a + b).",
    )
    missing: Literal["unknown", "partial"] = Field(
        default="unknown",
        description="While a meter of the expression says nothing: unknown, or partial, the sum of those that do.",
    )
    parent: Key | None = Field(default=None, description="The energy meter upstream of this one.")
    counts: bool = Field(
        default=False,
        description="true: part of sums over area and site and of its parent's balance; false: a view of others.",
    )
    residual: Residual | None = Field(default=None, description="What it counts and the meters below it do not.")
