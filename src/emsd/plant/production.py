"""What is produced: products with their area and mask passes, how shared areas are spread, when production rests."""

from __future__ import annotations

import re
from datetime import time
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from emsd.plant.entry import Entry, Key

__all__ = ["WEEKDAYS", "AreaAllocation", "IdleTime", "Product", "ProductCounter", "Production", "Weekday"]

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: Final[tuple[Weekday, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_MIDNIGHT: Final = 24 * 60
_CLOCK: Final = re.compile(r"^(?:([01]\d|2[0-3]):(00|15|30|45)|24:00)$")
ClockTime = Annotated[
    str, Field(pattern=_CLOCK.pattern, description="Local time HH:MM on a full quarter hour; 24:00 ends a day.")
]


class Product(Entry):
    """One product of the line."""

    key: Key
    name: str = Field(min_length=1, description="What people call it.")
    area_m2: float = Field(gt=0, description="Area of one unit [m2].")
    passes: dict[str, Annotated[float, Field(gt=0)]] = Field(
        min_length=1,
        description="Production stage to mask passes of one unit, in the order of the line; 1 where no mask is used.",
    )


class AreaAllocation(Entry):
    """How the energy of an area that no product passes, and of those below it, is spread over the stages."""

    area: Key
    by: Literal["stage_energy", "floor_area", "shares", "none"] = Field(
        description="stage_energy: as the stages' own energy; floor_area; shares: those below; none: not at all."
    )
    shares: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=dict, description="Stage to its share, 0..1, for shares."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.by == "shares") != bool(self.shares):
            raise ValueError("shares belong to by: shares, and that needs them")
        if sum(self.shares.values()) > 1 + 1e-9:
            raise ValueError("the shares add up to more than 1")
        return self


class IdleTime(Entry):
    """A weekly time in which nothing is produced, so that air which is still delivered is leaking."""

    weekdays: tuple[Weekday, ...] = Field(default=WEEKDAYS, min_length=1, description="Local weekdays; absent: all.")
    begin: ClockTime
    end: ClockTime

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.begin_minute >= self.end_minute:
            raise ValueError("end is not after begin; write two entries for a time over midnight")
        return self

    @property
    def begin_minute(self) -> int:
        """Minutes after local midnight."""
        return _minutes(self.begin)

    @property
    def end_minute(self) -> int:
        """Minutes after local midnight, 1440 for 24:00."""
        return _minutes(self.end)


class ProductCounter(Entry):
    """An asset whose piece counter counts one product."""

    asset: Key
    product: Key
    stage: str | None = Field(default=None, description="Production stage that it counts at; absent: the whole line.")


class Production(Entry):
    """What is produced at the site."""

    products: tuple[Product, ...] = Field(
        default=(), description="Products of the line; further ones may stand in products_csv."
    )
    products_csv: tuple[str, ...] = Field(
        default=(), description="Lists of further products, relative to this file: key,name,area_m2,passes.STAGE,..."
    )
    allocation: tuple[AreaAllocation, ...] = Field(
        default=(), description="How shared areas are spread over the stages; absent: as the stages' own energy."
    )
    counters: tuple[ProductCounter, ...] = Field(
        default=(), description="Assets whose piece counters count one product each; other counts are sent."
    )
    idle_times: tuple[IdleTime, ...] = Field(default=(), description="When production rests.")

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages that a product passes, in the order of the products' passes."""
        return tuple(dict.fromkeys(stage for product in self.products for stage in product.passes))


def _minutes(clock: str) -> int:
    if clock == "24:00":
        return _MIDNIGHT
    parsed = time.fromisoformat(clock)
    return parsed.hour * 60 + parsed.minute
