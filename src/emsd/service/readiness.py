"""What /readyz asks: one probe for each part that must work, by the plant as it is now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from emsd.api.dependencies import ReadinessProbe
from emsd.collector import Collector
from emsd.plant.connections import Connection

__all__ = ["Readiness"]

_LARGEST_LAG_S: Final = 120.0
"""Accounting that is further behind than this [s] is reported as not ready."""
_LARGEST_DERIVING_LAG_S: Final = 300.0
"""And derived values: alarms on residual and demand would go by what was."""


@dataclass(frozen=True, slots=True)
class Readiness(Mapping[str, ReadinessProbe]):
    """Probes by name; each answers None, or one sentence that says why not.

    started             whether everything runs
    accounting_lag_s    how far intervals are behind [s]; None where nothing is accounted
    deriving_lag_s      how far derived values are behind the settled minutes [s]; None where nothing is derived
    connections         what is to be collected here, by key
    collectors          what runs
    """

    started: Callable[[], bool]
    accounting_lag_s: Callable[[], float | None]
    deriving_lag_s: Callable[[], float | None]
    connections: Callable[[], Mapping[str, Connection]]
    collectors: Callable[[], Sequence[Collector]]

    def __getitem__(self, name: str) -> ReadinessProbe:
        for known, probe in self._probes():
            if known == name:
                return probe
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._probes())

    def __len__(self) -> int:
        return sum(1 for _ in self._probes())

    def _probes(self) -> Iterator[tuple[str, ReadinessProbe]]:
        yield "startup", self._startup
        if self.accounting_lag_s() is not None:
            yield "accounting", self._accounting
        if self.deriving_lag_s() is not None:
            yield "deriving", self._deriving
        for key, connection in self.connections().items():
            yield f"connection {key}", self._connection(key, connection)

    async def _startup(self) -> str | None:
        return None if self.started() else "waits for the database before it begins"

    async def _accounting(self) -> str | None:
        lag_s = self.accounting_lag_s() or 0.0
        return None if lag_s <= _LARGEST_LAG_S else f"intervals are {lag_s:.0f} s behind the readings"

    async def _deriving(self) -> str | None:
        lag_s = self.deriving_lag_s() or 0.0
        return (
            None
            if lag_s <= _LARGEST_DERIVING_LAG_S
            else f"residuals, deviations and demand are those of {lag_s:.0f} s ago"
        )

    def _connection(self, key: str, connection: Connection) -> ReadinessProbe:
        async def probe() -> str | None:
            for collector in self.collectors():
                if collector.name == key and collector.connected():
                    return None
            return f"{_where(connection)} does not answer"

        return probe


def _where(connection: Connection) -> str:
    host, port = getattr(connection, "host", None), getattr(connection, "port", None)
    place = f"{host}:{port}" if host else getattr(connection, "device", None)
    return f"{connection.kind} {place}" if place else connection.kind
