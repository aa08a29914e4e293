"""What the API takes and answers of production and of the footprint of products."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from emsd.api.schemas.answer import Answer

__all__ = [
    "AllocatedArea",
    "BurdenAnswer",
    "CountEntry",
    "CountList",
    "FootprintReport",
    "NewCounts",
    "ProductEntry",
    "ProductFootprintEntry",
    "ProductList",
    "StageEntry",
    "UnallocatedEntry",
    "UnusedCount",
    "WrittenCounts",
]

_LARGEST_UNITS = 1e12
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
]
Note = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$")]


class NewCountEntry(BaseModel):
    """Units of a product that went through a stage, or the whole line, in a time."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    external_id: Name = Field(
        description="Number that the sender gives it; the same one again corrects it.", examples=["mes-4711"]
    )
    product: Name = Field(description="Key of the product.", examples=["panel-6-5"])
    stage: Name | None = Field(
        default=None, description="Production stage; absent: the whole line.", examples=["array"]
    )
    from_: AwareDatetime = Field(alias="from", description="Begin, inclusive.", examples=["2026-01-31T00:00:00Z"])
    to: AwareDatetime = Field(description="End, exclusive.", examples=["2026-02-01T00:00:00Z"])
    units: float = Field(
        ge=0, le=_LARGEST_UNITS, description="Units that went through, scrap included.", examples=[1000]
    )
    good_units: float | None = Field(
        default=None, ge=0, le=_LARGEST_UNITS, description="Good ones of them; absent: not known here.", examples=[950]
    )
    withdrawn: bool = Field(default=False, description="It was a mistake, and counts for nothing.")
    note: Note = Field(default="", description="For whoever reads it later.", examples=["line stop 14:00"])

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.from_ >= self.to:
            raise ValueError("from is not before to")
        if self.good_units is not None and self.good_units > self.units:
            raise ValueError("there are more good units than units")
        return self


class NewCounts(BaseModel):
    """Counts to be written, all or none."""

    model_config = ConfigDict(extra="forbid")

    counts: list[NewCountEntry] = Field(min_length=1, max_length=500)


class WrittenCounts(Answer):
    """What became of the counts; the three add up to those that were sent."""

    added: int = Field(examples=[2])
    corrected: int = Field(description="A new version of an earlier count.", examples=[0])
    unchanged: int = Field(description="Known already, word by word.", examples=[0])


class CountEntry(Answer):
    """A count of production."""

    external_id: str = Field(examples=["mes-4711"])
    version: int = Field(description="1, and one more for every correction.", examples=[1])
    product: str = Field(examples=["panel-6-5"])
    stage: str | None = Field(description="null: the whole line.", examples=["array"])
    from_: datetime = Field(alias="from")
    to: datetime
    units: float = Field(examples=[1000.0])
    good_units: float | None = Field(examples=[950.0])
    withdrawn: bool
    author: str = Field(description="Name of the token, or who imported it.", examples=["mes"])
    note: str = Field(examples=[""])
    recorded_at: datetime


class CountList(Answer):
    """Counts whose time touches the range, in order of their begin."""

    counts: list[CountEntry]
    more: bool = Field(description="There are more than these; ask for a shorter time.", examples=[False])


class ProductEntry(Answer):
    """A product as configured."""

    product: str = Field(description="Key.", examples=["panel-6-5"])
    name: str = Field(examples=['Panel 6.5"'])
    area_m2: float = Field(description="Area of one unit [m2].", examples=[0.0105])
    passes: dict[str, float] = Field(
        description="Stage to mask passes of one unit, in the order of the line.", examples=[{"array": 12}]
    )


class ProductList(Answer):
    """Products of the line."""

    products: list[ProductEntry]


class BurdenAnswer(Answer):
    """Energy and emissions."""

    energy_kwh: float = Field(description="[kWh]", examples=[12.5])
    kg_co2: float | None = Field(
        description="Location-based emissions of the energy [kg CO2]; null while no factor is known for any of it.",
        examples=[6.6],
    )
    direct_kg_co2e: float = Field(description="Direct emissions (Scope 1) [kg CO2e].", examples=[0.0])
    total_kg_co2e: float | None = Field(description="Both together [kg CO2e].", examples=[6.6])


class StageEntry(BurdenAnswer):
    """What one stage adds."""

    stage: str = Field(examples=["array"])
    units: float = Field(description="Units that went through it.", examples=[1000.0])
    passes: float = Field(description="Mask passes of one unit.", examples=[12.0])


class ProductFootprintEntry(Answer):
    """The footprint of one product."""

    product: str = Field(examples=["panel-6-5"])
    name: str = Field(examples=['Panel 6.5"'])
    area_m2: float = Field(description="Area of one unit [m2].", examples=[0.0105])
    good_units: float | None = Field(description="null: nobody has counted them.", examples=[950.0])
    good_area_m2: float | None = Field(description="Area of the good units [m2].", examples=[9.975])
    total: BurdenAnswer
    per_unit: BurdenAnswer | None = Field(description="Of one good unit; null without good units.")
    per_m2: BurdenAnswer | None = Field(description="Of a square metre of good product; null without good units.")
    stages: list[StageEntry]


class UnallocatedEntry(BurdenAnswer):
    """What no product bears."""

    what: str = Field(examples=["area offices"])
    reason: str = Field(examples=["the plant file says that products do not bear it"])


class UnusedCount(Answer):
    """Units that were counted at a stage that their product does not pass as it is configured now."""

    product: str = Field(examples=["panel-6-5"])
    stage: str = Field(examples=["aray"])
    units: float = Field(examples=[12.0])


class AllocatedArea(BurdenAnswer):
    """An area that no product passes."""

    area: str = Field(examples=["utilities"])
    key: Literal["stage_energy", "floor_area", "shares", "none"] = Field(
        description="How it is spread over the stages.", examples=["stage_energy"]
    )


class FootprintReport(Answer):
    """The footprint of all products over a time; products and unallocated add up to the total."""

    from_: datetime = Field(alias="from")
    to: datetime
    carbon_basis: Literal["consumption"] = Field(
        description="All energy used times the location-based factor valid at the time, as if it came from the grid."
    )
    coverage: float | None = Field(
        description="Measured share 0..1 of the time, mean over the meters; null without any.", examples=[0.99]
    )
    estimated_kwh: float = Field(description="Part of the energy that was spread over gaps [kWh].", examples=[3.2])
    carbon_coverage: float | None = Field(description="Share 0..1 of the energy that had a factor.", examples=[1.0])
    products: list[ProductFootprintEntry]
    shared: list[AllocatedArea]
    unallocated: list[UnallocatedEntry]
    unused_counts: list[UnusedCount] = Field(
        description="Units that count for nothing: their stage is none that the product passes now."
    )
    allocated: BurdenAnswer
    total: BurdenAnswer
