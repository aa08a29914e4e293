"""What the API answers to questions of cost and tariff."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from emsd.api.schemas.answer import Answer
from emsd.energy.bill import DemandBasis
from emsd.store.cost import CostBasis
from emsd.store.scopes import ScopeKind

__all__ = [
    "BillAnswer",
    "CostAnswer",
    "CostRow",
    "DemandExcessBand",
    "PeriodCostAnswer",
    "PriceStretch",
    "TariffAnswer",
    "TariffEntry",
]


class PeriodCostAnswer(Answer):
    """Energy drawn in one time-of-use period."""

    period: str = Field(examples=["peak"])
    energy_kwh: float = Field(description="[kWh]", examples=[21500.0])
    price_per_kwh: float | None = Field(description="Mean price, weighted by energy [currency/kWh].", examples=[1.08])
    cost: float = Field(description="[currency]", examples=[23220.0])


class BillAnswer(Answer):
    """What is charged by the month, and the whole of it; null is unknown, never 0."""

    tariff: str | None = Field(
        description="Key of the tariff with which the month began; null in a total.", examples=["industrial-2026"]
    )
    energy: float | None = Field(
        description="Cost of the energy drawn; null when some of it has no price [currency].", examples=[912345.6]
    )
    levies: float | None = Field(description="On the same energy [currency].", examples=[31234.5])
    demand_basis: DemandBasis | None = Field(description="What the demand charge is for; null: there is none.")
    demand_billed: float | None = Field(description="[kW], for contract_capacity [kVA].", examples=[4210.5])
    demand_kw: float | None = Field(description="The month's highest trusted block [kW].", examples=[4210.5])
    demand_at: datetime | None = Field(description="When it began.")
    untrusted_blocks: int | None = Field(
        description="Settlement periods of the month that are less than 90 % covered: a higher one may be among them.",
        examples=[0],
    )
    contract_demand_kw: float | None = Field(description="Agreed when the month began [kW].", examples=[4500.0])
    demand_charge: float | None = Field(description="[currency]", examples=[151578.0])
    demand_excess_kw: float | None = Field(
        description="Demand above where the tariff's bands of excess begin [kW].", examples=[0.0]
    )
    demand_surcharge: float | None = Field(
        description="For it, at its multiples of the price [currency].", examples=[0.0]
    )
    power_factor: float | None = Field(description="Mean of the month, 0..1.", examples=[0.93])
    reactive_kvarh: float | None = Field(description="Both directions, by their absolute values [kvarh].")
    reactive_source: Literal["counters", "power"] | None = Field(
        description="Whether reactive energy was counted, or reactive power integrated."
    )
    power_factor_percent: float | None = Field(
        description="Change of energy, demand charge and surcharge [%].", examples=[-0.45]
    )
    power_factor_adjustment: float | None = Field(description="The same [currency].", examples=[-4787.6])
    fixed_charge: float = Field(description="[currency]", examples=[0.0])
    tax: float | None = Field(description="On all of the above [currency].", examples=[141750.0])
    feed_in_credit: float | None = Field(description="For energy given to the grid, taken off [currency].")
    total: float | None = Field(description="What is to be paid [currency].", examples=[1232121.0])


class CostRow(Answer):
    """Cost of one day or month, or of the whole range; null is unknown, never 0."""

    from_: datetime = Field(alias="from")
    to: datetime
    complete: bool = Field(description="Whether it is the whole local day or month.")
    drawn_kwh: float | None = Field(description="What was priced: see basis [kWh].", examples=[1012345.0])
    given_kwh: float | None = Field(description="Given to the grid; null but for the site [kWh].", examples=[120.0])
    energy_cost: float | None = Field(description="Of the energy drawn, without levies and tax [currency].")
    levies: float | None = Field(description="[currency]")
    feed_in_credit: float | None = Field(description="[currency]; null where nothing was given or is agreed.")
    priced_share: float | None = Field(description="Share 0..1 of the energy drawn that had a price.", examples=[1.0])
    coverage: float = Field(description="Share 0..1 of the time that was measured, mean over the meters.")
    estimated_share: float | None = Field(description="Share 0..1 of the energy that is estimated.", examples=[0.0])
    periods: list[PeriodCostAnswer] = Field(description="By time-of-use period.")
    bill: BillAnswer | None = Field(
        description="The month's bill, of months that begin in the range; the site only, and not by day. Of the "
        "running month what it comes to so far. In a total the sum of its months' bills."
    )


class CostAnswer(Answer):
    """Cost of the energy of one scope."""

    scope: ScopeKind
    key: str | None = Field(description="null for the site.", examples=[None])
    currency: str | None = Field(description="null: there is no tariff.", examples=["CNY"])
    basis: CostBasis = Field(
        description="grid_import for the site; consumption for a part of it, priced as if all came from the grid."
    )
    time_zone: str = Field(examples=["Asia/Shanghai"])
    meters: list[str] = Field(description="Keys of the meters that are added up.", examples=[["incomer"]])
    rows: list[CostRow]


class DemandExcessBand(Answer):
    """A band of demand above the agreed one."""

    above_share_of_contract: float = Field(examples=[1.05])
    price_factor: float = Field(description="Multiple of demand_price_per_month.", examples=[2.0])


class TariffEntry(Answer):
    """One version of the contract."""

    key: str = Field(examples=["industrial-2026"])
    name: str = Field(examples=["Two-part industrial, 10 kV"])
    currency: str = Field(examples=["CNY"])
    source: str
    valid_from: datetime
    valid_to: datetime | None = Field(description="null: no end is known.")
    in_force: bool = Field(description="Whether it applies now.")
    demand_basis: DemandBasis | None
    demand_price_per_month: float = Field(description="[currency/kW], for contract_capacity [currency/kVA].")
    demand_minimum_share: float | None = Field(
        description="Share of the agreed demand that is billed at least; null: what was drawn."
    )
    demand_excess: list[DemandExcessBand] = Field(description="Bands above the agreed demand, from below upwards.")
    fixed_per_month: float = Field(description="[currency]")
    tax_percent: float = Field(description="[%]")


class PriceStretch(Answer):
    """A stretch of one price."""

    from_: datetime = Field(alias="from")
    to: datetime
    period: str = Field(examples=["peak"])
    price_per_kwh: float | None = Field(description="Of energy drawn [currency/kWh].", examples=[1.08])
    levy_per_kwh: float = Field(description="On top of it [currency/kWh].", examples=[0.03])
    feed_in_per_kwh: float | None = Field(description="Of energy given to the grid [currency/kWh].", examples=[0.4])


class TariffAnswer(Answer):
    """Every version of the contract, and the prices of a range."""

    tariffs: list[TariffEntry]
    prices: list[PriceStretch]
