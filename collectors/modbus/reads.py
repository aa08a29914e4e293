"""What one meter has to be asked for at a tick: its points as requests, and what its device taught about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collectors.modbus.codec import BlockDecoder
from collectors.modbus.plan import Block, Cut, Target, plan_blocks, split_address
from collectors.modbus.sunspec import place_points
from emsd.plant.modbus_map import ModbusMap, Table

__all__ = ["Reads", "Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """A block with its decoder; `cuts` are those that led to it, learned for good once it is answered."""

    block: Block
    decoder: BlockDecoder
    cuts: tuple[Cut, ...] = ()

    @property
    def key(self) -> tuple[Table, int, int]:
        """What tells it from other requests to the same meter."""
        return self.block.table, self.block.address, self.block.count

    @property
    def names(self) -> tuple[str, ...]:
        """Quantities that its answer holds, in the order of the decoded values."""
        return self.decoder.names


class Reads:
    """The requests of one meter.

    Args:
        registers: map of its profile.
        interval_s: time between two polls [s]; points with a longer interval of their own are read only when due.
        rated_power_kw: rating of the equipment behind it [kW]; None when it is not known.

    Raises:
        ValueError: the map cannot be read as it is written.
    """

    def __init__(self, registers: ModbusMap, interval_s: float, rated_power_kw: float | None) -> None:
        self._map = registers
        self._interval_s = interval_s
        self._rated_power_kw = rated_power_kw
        self._targets: tuple[Target, ...] = ()
        self._cuts: set[Cut] = set()
        self._by_rates: dict[tuple[float, ...], tuple[Request, ...]] = {}
        self.placed = False
        """Whether the address of every point is known."""
        self.unsupported: tuple[str, ...] = ()
        """Quantities whose SunSpec model this device does not have."""
        self.rates_s: tuple[float, ...] = tuple(
            sorted({p.interval_s for p in registers.points if p.interval_s is not None and p.interval_s > interval_s})
        )
        """Intervals slower than the poll's [s]."""
        # Distances inside a model do not depend on where it stands: any place shows whether the map can be read.
        self.place({point.model: 0 for point in registers.points if point.model is not None})
        self.requests(self.rates_s)
        self.walks = any(point.model is not None for point in registers.points)
        """Whether the models have to be looked for in the device."""
        if self.walks:
            self.forget_places()

    def place(self, models: Mapping[int, int]) -> bool:
        """Give every point its address by where the device's models stand; return whether any point has one."""
        self._targets, self.unsupported = place_points(self._map.points, models)
        self.placed = bool(self._targets)
        self._by_rates.clear()
        return self.placed

    def forget_places(self) -> None:
        """The models have to be looked for again."""
        self.placed = False

    def requests(self, rates_s: tuple[float, ...]) -> tuple[Request, ...]:
        """Return the requests for the points of every poll and for those of the slower `rates_s` [s]."""
        known = self._by_rates.get(rates_s)
        if known is None:
            due = [each for each in self._targets if self._is_due(each, rates_s)]
            known = self._by_rates[rates_s] = tuple(self._request(block) for block in self._blocks(due))
        return known

    def halves(self, request: Request) -> list[Request]:
        """Return the parts of a block that the device refused as a whole; none when it cannot be made smaller."""
        block = request.block
        address = split_address(block)
        if address is None:
            return []
        cuts = (*request.cuts, (block.table, address))
        lower = [target for target in block.targets if target.start < address]
        upper = [target for target in block.targets if target.start >= address]
        return [self._request(part, cuts) for half in (lower, upper) for part in self._blocks(half)]

    def learn(self, cuts: Sequence[Cut]) -> None:
        """Never read across these places again."""
        if not self._cuts.issuperset(cuts):
            self._cuts.update(cuts)
            self._by_rates.clear()

    def _is_due(self, target: Target, rates_s: tuple[float, ...]) -> bool:
        interval_s = target.point.interval_s
        return interval_s is None or interval_s <= self._interval_s or interval_s in rates_s

    def _blocks(self, targets: Sequence[Target]) -> tuple[Block, ...]:
        return plan_blocks(
            targets,
            max_registers=self._map.max_registers,
            max_gap_registers=self._map.max_gap_registers,
            one_point_per_request=self._map.one_point_per_request,
            cuts=self._cuts,
        )

    def _request(self, block: Block, cuts: tuple[Cut, ...] = ()) -> Request:
        return Request(block, BlockDecoder(block, self._map, self._rated_power_kw), cuts)
