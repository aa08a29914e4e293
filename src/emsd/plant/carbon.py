"""How the site's carbon ledger is made."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from emsd.plant.entry import Entry

__all__ = ["CarbonLedger"]


class CarbonLedger(Entry):
    """Rules of the carbon ledger; what is absent goes by the defaults."""

    gwp_set: Literal["AR4", "AR5", "AR6"] = Field(
        default="AR5", description="IPCC assessment report whose global warming potentials count, over 100 years."
    )
    matching: Literal["yearly", "hourly"] = Field(
        default="yearly",
        description="Certificates cover any use in the period that they were retired for, or only that of their hour.",
    )
    residual_region: str | None = Field(
        default=None, description="Region whose residual factor applies; absent: the site's carbon_region."
    )
