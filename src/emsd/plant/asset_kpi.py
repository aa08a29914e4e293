"""What an asset's entry says of its key figures: which meters count, what its plates say, what it should reach."""

from __future__ import annotations

from pydantic import Field

from emsd.plant.entry import Entry, Key

__all__ = ["AssetKpi"]


class AssetKpi(Entry):
    """Everything here is optional: what an asset's meters deliver mostly says it already."""

    inputs: dict[str, tuple[Key, ...]] = Field(
        default_factory=dict,
        description="Input of a key figure, such as cooling_kwh, to the meters that give it; where two could.",
    )
    reference: dict[str, float] = Field(
        default_factory=dict,
        description="Key figure, such as chiller_cop, to the value it is compared with: a rating or an agreed target.",
    )
    peak_power_kwp: float | None = Field(
        default=None, gt=0, description="Peak power of the modules [kWp]; absent: rated_power_kw."
    )
    temperature_coefficient_per_k: float | None = Field(
        default=None, ge=-0.02, le=0.0, description="Of the modules' maximum power [1/K], such as -0.0035."
    )
    loaded_above_kw: float | None = Field(
        default=None, gt=0, description="A compressor that takes more than this is under load [kW]."
    )
    running_above_kw: float | None = Field(
        default=None, gt=0, description="A compressor that takes more than this is running [kW]."
    )
    water_density_kg_m3: float = Field(default=1000.0, gt=500, lt=1500, description="Of water or brine [kg/m3].")
    water_heat_capacity_kj_kg_k: float = Field(default=4.186, gt=1, lt=6, description="Of water or brine [kJ/(kg K)].")
