"""How one meter's samples become energy, from the plant and its profiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from emsd.energy.counters import CounterRules
from emsd.energy.power import PowerMethod
from emsd.plant.loader import LoadedPlant
from emsd.plant.profile import ENERGY_COUNTERS

__all__ = ["MeterAccount", "accounts_of"]


@dataclass(frozen=True, slots=True)
class MeterAccount:
    """The rules of one meter; `by_counter` says whether a counter makes its energy, else active power is integrated."""

    meter_id: int
    rules: CounterRules
    has_import: bool
    has_export: bool
    poll_interval_s: float
    power_method: PowerMethod = "trapezoid"

    @property
    def by_counter(self) -> bool:
        """Whether the meter has an energy counter."""
        return self.has_import or self.has_export


def accounts_of(loaded: LoadedPlant, meter_ids: Mapping[str, int]) -> dict[int, MeterAccount]:
    """Return the account of every energy-measuring meter of the plant, by meter id."""
    accounts = {}
    for meter in loaded.plant.meters:
        profile = loaded.profiles[meter.profile]
        if not profile.measures_energy:
            continue
        counters = [name for name in ENERGY_COUNTERS if name in profile.quantities]
        counts = [count for name in counters if (count := profile.counter_count(name))]
        accounts[meter_ids[meter.key]] = MeterAccount(
            meter_id=meter_ids[meter.key],
            rules=CounterRules(
                max_gap_s=meter.max_gap_s,
                max_power_kw=loaded.rated_power_kw(meter),
                count_kwh=max(counts, default=0.0),
                modulus_kwh=profile.counter_modulus(counters[0]) if counters else None,
            ),
            has_import="energy_import_kwh" in counters,
            has_export="energy_export_kwh" in counters,
            poll_interval_s=meter.poll_interval_s,
            power_method="left_hold" if profile.reports_by_exception else "trapezoid",
        )
    return accounts
