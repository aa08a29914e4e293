"""The accounting of a plant: its accounts and gauges, its virtual meters, and the estimates of its long gaps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from emsd.accounting.accounts import accounts_of
from emsd.accounting.calendar_days import day_classes
from emsd.accounting.estimating import Estimating
from emsd.accounting.gauges import gauges_of
from emsd.accounting.loop import Accounting
from emsd.accounting.virtual import VirtualMeters
from emsd.plant.loader import LoadedPlant
from emsd.store.pool import Pool

__all__ = ["PlantAccounting"]


class PlantAccounting(Accounting):
    """Accounting with everything that belongs into its passes, whoever makes them: the service or a command."""

    def __init__(
        self,
        pool: Pool,
        loaded: LoadedPlant,
        meter_ids: Mapping[str, int],
        *,
        interval_s: float = 2.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        accounts, zone = accounts_of(loaded, meter_ids), loaded.plant.site.zone
        super().__init__(pool, accounts, zone, gauges=gauges_of(loaded, meter_ids), interval_s=interval_s, now=now)
        self._virtual = VirtualMeters(zone)
        self._estimating = Estimating(
            accounts, zone, class_of=day_classes(loaded.plant), virtual=lambda: self._virtual.written, now=now
        )
        self.after_pass += [self._virtual.after_pass, self._estimating.after_pass]

    def adopt_plant(self, loaded: LoadedPlant, meter_ids: Mapping[str, int]) -> None:
        """Go by this plant from the next pass on."""
        accounts, zone = accounts_of(loaded, meter_ids), loaded.plant.site.zone
        self.adopt(accounts, zone, gauges_of(loaded, meter_ids))
        self._virtual.adopt(zone)
        self._estimating.adopt(accounts, zone, class_of=day_classes(loaded.plant))
