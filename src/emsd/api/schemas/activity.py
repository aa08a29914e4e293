"""Activities of Scope 1, as they are entered and answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from emsd.api.schemas.answer import Answer
from emsd.api.schemas.carbon_words import Amount, Asked, Instant, Share, Text, Word
from emsd.energy.ledger.gwp import GwpSet

__all__ = [
    "ActivityEntered",
    "ActivityEntry",
    "ActivityList",
    "NewActivity",
]


class NewActivity(Asked):
    """Fuel that was burned, process gas that was used, or gas that was lost."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "reference": "NF3-2026-03", "kind": "process_gas", "substance": "NF3",
                    "process": "chamber_clean_remote", "period_from": "2026-02-28T16:00:00Z",
                    "period_to": "2026-03-31T16:00:00Z", "amount": "120.5", "unit": "kg", "abated_share": "1",
                    "document": "Gas store, delivery note 4711", "author": "l.wei",
                }
            ]
        },
    )  # fmt: skip

    reference: Word = Field(description="What its document calls it; entered again, it is replaced or refused.")
    kind: Literal["fuel", "process_gas", "release"]
    substance: Word = Field(description="Fuel or gas.")
    process: Word | None = Field(default=None, description="Of a process gas: etch, chamber_clean_remote, ...")
    period_from: Instant = Field(description="Begin of the use.")
    period_to: Instant = Field(description="End of the use, exclusive.")
    area: Word | None = Field(default=None, description="Key of the area.")
    asset: Word | None = Field(default=None, description="Key of the asset.")
    amount: Amount
    unit: Word = Field(description="kg, t, L, m3, gal, GJ, ...")
    heel: Share | None = Field(default=None, description="Share left in the bottle; absent: 0.10.")
    utilization: Share | None = Field(default=None, description="Share used up; absent: the published default.")
    abated_share: Share | None = Field(default=None, description="Share through abatement; absent: none.")
    destruction: Share | None = Field(default=None, description="Share destroyed there; absent: the default.")
    factor_kg_per_unit: Amount | None = Field(default=None, description="Own factor of a fuel [kgCO2e/unit].")
    factor_source: Word | None = Field(default=None, description="Who published it.")
    document: Word = Field(description="What proves it.")
    author: Word
    note: Text = ""
    is_void: bool = Field(default=False, description="Takes back the entry of this reference.")
    replace: bool = Field(default=False, description="Replace what is entered under this reference.")


class ActivityEntered(Answer):
    """What became of an entry."""

    reference: str
    outcome: Literal["added", "replaced", "unchanged"]


class ActivityEntry(Answer):
    """An activity with its emissions."""

    activity_id: int
    activity: dict[str, Any] = Field(description="As it was entered; numbers are exact decimals as text.")
    in_force: bool = Field(description="false: a later version replaced it.")
    recorded_at: datetime
    kg_co2e: dict[GwpSet, float] = Field(description="By GWP set, as computed when it was entered [kgCO2e].")


class ActivityList(Answer):
    """Activities, the latest first."""

    activities: list[ActivityEntry]
