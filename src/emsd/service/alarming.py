"""Alarms of a running process: the rules of its meters and of derived ones, and the delivery of notifications."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from emsd.alarms.binding import BoundRule, bind_rules
from emsd.alarms.engine import AlarmEngine
from emsd.alarms.oncall import OnCall
from emsd.alarms.outbox import Outbox
from emsd.alarms.stats import AlarmStats
from emsd.plant.derived import derived_meter_id
from emsd.plant.loader import LoadedPlant
from emsd.plant.models import NotificationTarget
from emsd.readings import Reading
from emsd.service.collection import resting_meters
from emsd.service.roles import Role, Shard
from emsd.service.slot import Slot
from emsd.store.leadership import lead
from emsd.store.pool import Pool

__all__ = ["Alarming"]


class Alarming:
    """Evaluates rules where readings come in, and delivers where accounting runs; exchanged only when they change.

    Readings of derived meters come in where accounting runs.

    Of several processes that deliver for one site, one does and the others stand by.
    """

    def __init__(
        self, group: asyncio.TaskGroup, pool: Pool, role: Role, shard: Shard, on_failure: Callable[[str], None]
    ) -> None:
        self.stats = AlarmStats()
        self._pool = pool
        self._role = role
        self._shard = shard
        self._rules: tuple[BoundRule, ...] | None = None
        self._targets: tuple[NotificationTarget, ...] | None = None
        self._engine: AlarmEngine | None = None
        self._outbox: Outbox | None = None
        self._engine_slot = Slot(group, "alarms", on_failure)
        self._outbox_slot = Slot(group, "outbox", on_failure)

    def observe(self, reading: Reading) -> None:
        """Take an accepted reading; cheap, never waits and never raises."""
        if self._engine is not None:
            self._engine.observe(reading)

    def check(self, loaded: LoadedPlant, meter_ids: Mapping[str, int]) -> None:
        """Find out whether the alarms and targets of a plant can work.

        Raises:
            ConfigurationError: an alarm or a notification target cannot work as written.
        """
        bind_rules(loaded.plant, loaded.profiles, meter_ids, resting_meters(loaded))
        OnCall(loaded.plant.notification_targets)

    async def adopt(self, loaded: LoadedPlant, meter_ids: Mapping[str, int]) -> None:
        """Go by this plant from now on.

        Raises:
            ConfigurationError: see `check`; nothing has changed then.
        """
        self.check(loaded, meter_ids)
        if self._role.accounts and loaded.plant.notification_targets != self._targets:
            self._targets = loaded.plant.notification_targets
            outbox = self._outbox = Outbox(self._pool, OnCall(self._targets), stats=self.stats)
            site = loaded.plant.site.number
            await self._outbox_slot.replace(lambda: lead(self._pool, f"outbox of site {site}", outbox.run))
        await self._adopt_rules(loaded, meter_ids)

    async def _adopt_rules(self, loaded: LoadedPlant, meter_ids: Mapping[str, int]) -> None:
        derived = {derived_meter_id(number) for number in meter_ids.values()}
        own = derived if self._role.accounts else set()
        if self._role.collects:
            own |= {meter_ids[each.key] for each in loaded.plant.meters if self._shard.owns(each.connection)}
        rules = tuple(
            rule
            for rule in bind_rules(loaded.plant, loaded.profiles, meter_ids, resting_meters(loaded))
            if rule.meter_id in own
        )
        if rules == self._rules:
            return
        self._rules = rules
        others = sorted({*meter_ids.values(), *derived} - own)
        engine = AlarmEngine(
            rules,
            self._pool,
            site_id=loaded.plant.site.number,
            others=others,
            on_notice=self._wake,
            stats=self.stats,
        )
        # Its evaluators take over what stands from the database, so the one before must have written its changes.
        await self._engine_slot.stop()
        self.stats.standing = 0
        self._engine = engine
        self._engine_slot.start(engine.run)

    def _wake(self) -> None:
        if self._outbox is not None:
            self._outbox.wake()

    @property
    def rules(self) -> Sequence[BoundRule]:
        """The rules that are evaluated here."""
        return self._rules or ()
