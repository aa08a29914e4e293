"""Which registers to read in one request: targets of one unit joined into blocks.

Targets are sorted and joined in one pass while the hole between two is small and the block is not too long. A target is
never split, and its scale register is always in the same block, because a device may change the scale between two
requests.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from emsd.plant.modbus_map import ModbusPoint, Table

__all__ = ["Block", "Cut", "Target", "plan_blocks", "split_address"]

Cut = tuple[Table, int]
"""A place (table, address) that no block may extend across, learned from a device that refused to."""


@dataclass(frozen=True, slots=True)
class Target:
    """A point of a profile at its place in one device."""

    point: ModbusPoint
    address: int
    scale_address: int | None = None

    @property
    def table(self) -> Table:
        """Table of the device it stands in."""
        return self.point.table

    @property
    def start(self) -> int:
        """First register it needs, its scale register included."""
        return self.address if self.scale_address is None else min(self.address, self.scale_address)

    @property
    def end(self) -> int:
        """Register after the last one it needs, its scale register included."""
        end = self.address + self.point.type.registers
        return end if self.scale_address is None else max(end, self.scale_address + 1)


@dataclass(frozen=True, slots=True)
class Block:
    """One read request and the targets that its answer serves, in order of their first register."""

    table: Table
    address: int
    count: int
    targets: tuple[Target, ...]


def plan_blocks(
    targets: Iterable[Target],
    *,
    max_registers: int,
    max_gap_registers: int,
    one_point_per_request: bool = False,
    cuts: Collection[Cut] = (),
) -> tuple[Block, ...]:
    """Join targets into blocks; each target is in exactly one block.

    Raises:
        ValueError: a target needs more registers than one request may read, or registers beyond 65535.
    """
    ordered = sorted(targets, key=lambda target: (target.table, target.start, target.end))
    for target in ordered:
        _check(target, max_registers)
    if one_point_per_request:
        return tuple(_block([target]) for target in ordered)
    cut_addresses = {table: sorted(address for at, address in cuts if at is table) for table in Table}
    blocks: list[Block] = []
    run: list[Target] = []
    run_end = 0
    for target in ordered:
        joins = (
            bool(run)
            and run[0].table is target.table
            and target.start - run_end <= max_gap_registers
            and max(run_end, target.end) - run[0].start <= max_registers
            and not _is_cut(cut_addresses[target.table], run[-1].start, target.start)
        )
        if run and not joins:
            blocks.append(_block(run))
            run = []
        run_end = max(run_end, target.end) if run else target.end
        run.append(target)
    if run:
        blocks.append(_block(run))
    return tuple(blocks)


def split_address(block: Block) -> int | None:
    """Return where to cut a block that the device refused: between its values, as near to the middle as can be.

    None when all of its values begin at one register, so that no cut would make it smaller.
    """
    starts = [target.start for target in block.targets]
    middle = len(starts) // 2
    at = bisect_left(starts, starts[middle])
    if at == 0:
        at = bisect_right(starts, starts[middle])
    return starts[at] if 0 < at < len(starts) else None


def _check(target: Target, max_registers: int) -> None:
    name = target.point.quantity
    if target.end - target.start > max_registers:
        raise ValueError(
            f"{name} and its scale register span {target.end - target.start} registers, more than the "
            f"{max_registers} of one read"
        )
    if target.start < 0 or target.end > 65536:
        raise ValueError(f"{name} reaches beyond register 65535")


def _is_cut(sorted_cuts: Sequence[int], after: int, until: int) -> bool:
    """Whether a cut lies in (after, until]."""
    return bool(sorted_cuts) and bisect_right(sorted_cuts, until) > bisect_right(sorted_cuts, after)


def _block(run: Sequence[Target]) -> Block:
    start = run[0].start
    return Block(run[0].table, start, max(target.end for target in run) - start, tuple(run))
