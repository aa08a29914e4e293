"""What is asked and how its answer is decoded, made once for all meters of one profile.

Thousands of meters of one model ask for the same blocks. With a decoder of its own for each, every poll would take its
tables from memory that nobody has touched for a second, and that costs several times as much as the decoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from collectors.modbus.codec import BlockDecoder
from collectors.modbus.plan import Block, Cut
from emsd.plant.modbus_map import ModbusMap, Table

__all__ = ["Request", "request_for"]

_KEPT: Final = 4096


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


def request_for(
    block: Block,
    order: ModbusMap,
    rated_power_kw: float | None,
    parameters: Mapping[str, float],
    cuts: tuple[Cut, ...] = (),
) -> Request:
    """Return the request for a block; the same one where all of this is the same. See `BlockDecoder`.

    Raises:
        ValueError: a point of the block cannot be decoded as its profile says.
    """
    return _made(_Recipe(block, order, rated_power_kw, parameters, cuts))


class _Recipe:
    """What a request is made of; equal where it is of the same points of the same map, which it keeps alive."""

    __slots__ = ("_known_by", "block", "cuts", "order", "parameters", "rated_power_kw")

    def __init__(
        self,
        block: Block,
        order: ModbusMap,
        rated_power_kw: float | None,
        parameters: Mapping[str, float],
        cuts: tuple[Cut, ...],
    ) -> None:
        self.block, self.order, self.rated_power_kw, self.cuts = block, order, rated_power_kw, cuts
        self.parameters = dict(parameters)
        targets = tuple((id(each.point), each.address, each.scale_address) for each in block.targets)
        place = (block.table, block.address, block.count, targets)
        self._known_by = (id(order), place, rated_power_kw, tuple(sorted(parameters.items())), cuts)

    def __hash__(self) -> int:
        return hash(self._known_by)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Recipe) and self._known_by == other._known_by


@lru_cache(maxsize=_KEPT)
def _made(recipe: _Recipe) -> Request:
    decoder = BlockDecoder(recipe.block, recipe.order, recipe.rated_power_kw, recipe.parameters)
    return Request(recipe.block, decoder, recipe.cuts)
