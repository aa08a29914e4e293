"""What is computed from readings, in a process that accounts: intervals first, and then what is made of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from emsd.accounting import PlantAccounting, Retention, RetentionDays
from emsd.accounting.kpi_inputs import KpiInputs
from emsd.plant.loader import LoadedPlant
from emsd.readings import Reading
from emsd.service.carbon_months import keep_months
from emsd.service.deriving import Deriving
from emsd.service.deriving_balance import derive_balance
from emsd.service.deriving_demand import derive_demand
from emsd.service.tariff_horizon import keep_tariffs
from emsd.settings import Settings
from emsd.store.pool import Pool

__all__ = ["Computing"]


class Computing:
    """Accounting, inputs of key figures, derived values, months of the carbon ledger, and retention.

    Args:
        pool: where readings are, and where results go.
        settings: intervals, and for how long rows are kept.
        loaded: the plant.
        meter_ids: number of each of its meters by key.
        observers: take every derived reading; cheap, never wait and never raise.
    """

    def __init__(
        self,
        pool: Pool,
        settings: Settings,
        loaded: LoadedPlant,
        meter_ids: Mapping[str, int],
        observers: Sequence[Callable[[Reading], None]],
    ) -> None:
        self._pool = pool
        self._site_number = loaded.plant.site.number
        self._plant = loaded.plant
        self.accounting = PlantAccounting(pool, loaded, meter_ids, interval_s=settings.accounting_interval_s)
        self._kpi_inputs = KpiInputs(pool, loaded, meter_ids, settle_s=settings.settle_s)
        self.deriving = Deriving(pool, (derive_balance, derive_demand), settle_s=settings.settle_s, observers=observers)
        days = RetentionDays(settings.retention_raw_days, settings.retention_1m_days, settings.retention_15m_days)
        self.retention = Retention(pool, days)

    def start(self, start: Callable[[str, Callable[[], Awaitable[None]]], None]) -> None:
        """Start every task by `start(name, run)`."""
        start("accounting", self.accounting.run)
        start("kpi inputs", self._kpi_inputs.run)
        start("deriving", self.deriving.run)
        start("tariffs", lambda: keep_tariffs(self._pool, lambda: self._plant))
        start("carbon months", lambda: keep_months(self._pool, self._site_number))
        start("retention", self.retention.run)

    def adopt(self, loaded: LoadedPlant, meter_ids: Mapping[str, int]) -> None:
        """Go by this plant from now on."""
        self._plant = loaded.plant
        self.accounting.adopt_plant(loaded, meter_ids)
        self._kpi_inputs.adopt(loaded, meter_ids)
        self.deriving.adopt(loaded, meter_ids)
