"""A simulated plant for a test: where its meters answer, what truly flows through them, and what goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from emsd.readings import instant_us

if TYPE_CHECKING:
    from emsd.plant.loader import LoadedPlant
    from emsd.plant.models import Plant
    from emsd.pytest_plugin.thread import Loop
    from simulator import EnergyTruth, FaultRecord, Simulator

__all__ = ["Address", "RunningFault", "RunningPlant", "serving"]


class Address(NamedTuple):
    """Where a Modbus meter answers."""

    host: str
    port: int
    unit_id: int


class RunningFault:
    """A fault of a simulated plant; as a block it lasts until the end of the block."""

    def __init__(self, number: int, simulator: Simulator, loop: Loop) -> None:
        self.number = number
        self._simulator = simulator
        self._loop = loop

    @property
    def record(self) -> FaultRecord:
        """What it is and whom it concerned, how often it struck (`hits`), what flowed meanwhile and what it changed.

        Raises:
            KeyError: it was removed before it began.
        """
        return self._loop.call(self._record)

    def remove(self) -> None:
        """End it now; a fault that is over, or that happens at one instant and has happened, stays as it is."""
        self._loop.call(self._remove)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _record(self) -> FaultRecord:
        for record in self._simulator.faults.list():
            if record.number == self.number:
                return record
        raise KeyError(f"fault {self.number} was removed before it began")

    def _remove(self) -> None:
        record = next((each for each in self._simulator.faults.list() if each.number == self.number), None)
        if record is None or record.state == "over" or (record.state == "in_force" and record.fault.of_kind.is_step):
            return
        self._simulator.faults.remove(self.number)


class RunningPlant:
    """A running simulated plant.

    plant        as it is really served: with the ports of its Modbus connections
    control_url  its control API: what is true, and what goes wrong, over HTTP
    began        since when its devices answer
    """

    def __init__(self, simulator: Simulator, control_url: str, loop: Loop) -> None:
        self._simulator = simulator
        self._loop = loop
        self.control_url = control_url
        self.plant: Plant = simulator.served_plant
        self.began = datetime.now(UTC)

    def address(self, meter: str) -> Address:
        """Return where a Modbus meter answers.

        Raises:
            KeyError: there is no such meter, or it is not reached by host and port.
        """
        found = next((each for each in self.plant.meters if each.key == meter), None)
        ports = self._simulator.ports
        if found is None or found.connection not in ports:
            raise KeyError(f"the plant has no Modbus meter {meter!r}; it has {sorted(self.modbus_meters)}")
        host = next(each.host for each in self.plant.connections if each.key == found.connection)  # type: ignore[union-attr]
        return Address(host, ports[found.connection], 1 if found.unit_id is None else found.unit_id)

    @property
    def modbus_meters(self) -> list[str]:
        """The keys of its meters that speak Modbus over a network."""
        return [each.key for each in self.plant.meters if each.connection in self._simulator.ports]

    def true_energy_kwh(self, meter: str, from_: datetime, to: datetime) -> EnergyTruth:
        """Return the energy that really flowed through a meter between two aware datetimes: import and export [kWh].

        Raises:
            KeyError: the plant has no such meter, or it measures no energy.
            ValueError: the window ends before it begins, or a datetime has no time zone.
        """
        from_us, to_us = _instant_us(from_), _instant_us(to)
        self._check(meter, of_energy=True)
        return self._loop.call(lambda: self._simulator.truth.true_energy_kwh(meter, from_us, to_us))

    def true_values(self, meter: str, at: datetime) -> dict[str, float]:
        """Return every quantity of a meter at an aware datetime, before any rounding by the device.

        Raises:
            KeyError: the plant has no such meter.
            ValueError: the datetime has no time zone.
        """
        at_us = _instant_us(at)
        self._check(meter)
        return self._loop.call(lambda: self._simulator.truth.quantities(meter, at_us))

    def count_kwh(self, meter: str) -> float:
        """Return the resolution of a meter's energy counter [kWh], which no reader can see beyond.

        Raises:
            KeyError: the plant has no such meter, or it measures no energy.
        """
        self._check(meter, of_energy=True)
        return self._loop.call(lambda: self._simulator.truth.counter_count_kwh(meter))

    def fault(
        self,
        kind: str,
        *,
        meter: str | None = None,
        connection: str | None = None,
        after_s: float = 0.0,
        for_s: float | None = None,
        seed: int = 1,
        **parameters: float | str,
    ) -> RunningFault:
        """Let a fault happen to a meter or to a connection, and return it.

        kind        one of `emsd simulate fault kinds`, which tells the parameters, too
        after_s     how long from now it begins [s]
        for_s       how long it lasts [s]; absent: until it is removed, or the test is over

        Raises:
            ConfigurationError: there is no such kind, target or parameter, or the target cannot have such a fault.
        """
        from simulator import DeviceFault

        def add() -> int:
            begin_us = self._simulator.now_us() + round(after_s * 1e6)
            until_us = None if for_s is None else begin_us + round(for_s * 1e6)
            return self._simulator.faults.add(
                DeviceFault(kind, begin_us, until_us, meter, connection, parameters, seed)
            )

        return RunningFault(self._loop.call(add), self._simulator, self._loop)

    @property
    def requests(self) -> dict[str, int]:
        """Modbus requests answered so far, by meter."""
        return self._loop.call(lambda: self._simulator.requests)

    def _check(self, meter: str, *, of_energy: bool = False) -> None:
        """Raise KeyError where the plant has no such meter."""
        truth = self._simulator.truth
        known = [key for key in truth.meters if not of_energy or truth.profile_of(key).measures_energy]
        if meter not in known:
            raise KeyError(f"the plant has no {'energy ' if of_energy else ''}meter {meter!r}; it has {sorted(known)}")


def _instant_us(when: datetime) -> int:
    if when.tzinfo is None:
        raise ValueError(f"{when} has no time zone; use datetime.now(timezone.utc)")
    return instant_us(when)


@asynccontextmanager
async def serving(loaded: LoadedPlant, seed: int) -> AsyncIterator[tuple[Simulator, str]]:
    """Serve a plant's devices on free loopback ports until the block ends, and yield it with its control's URL.

    Raises:
        ConfigurationError: the plant cannot be simulated.
        ServerError: an address cannot be listened on.
    """
    from emsd.cli.simulate.kpi_truth import kpi_router
    from simulator import Simulator
    from simulator.control import create_control, serve_control

    # Counters begin at midnight: of a month that is over in part every day would have to be computed first.
    simulator = Simulator(loaded.plant, loaded.profiles, seed=seed, anchor=datetime.now(UTC), free_ports=True)
    async with simulator, serve_control(create_control(simulator, [kpi_router(loaded)])) as url:
        yield simulator, url
