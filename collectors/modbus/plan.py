"""Which registers to read in one request: targets of one unit joined into blocks.

Targets are sorted and joined in one pass while the hole between two is small, the block is not too long and nothing
forbidden lies in it. A target is never split: its scale register and the registers that are added to it are always in
the same block, because a device may change between two requests.

With values that do not overlap no plan of the same rules needs fewer requests: whatever fits into one block still fits
when its first values are taken away, so filling each block as far as it goes is never worse than stopping short.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from emsd.plant.modbus_map import ForbiddenRange, ModbusPoint, Table

__all__ = [
    "Block",
    "Cut",
    "Forbidden",
    "Rules",
    "Target",
    "plan_blocks",
    "registers_wanted",
    "split_address",
    "why_unreadable",
]

Cut = tuple[Table, int]
"""A place (table, address) that no block may extend across, learned from a device that refused to."""

_REGISTERS: Final = 65536
"""Addresses of one table."""


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
    def parts(self) -> tuple[tuple[int, int], ...]:
        """Registers it needs, as (first, after the last), its scale register and what is added to it included."""
        width = self.point.type.registers
        scale = () if self.scale_address is None else ((self.scale_address, self.scale_address + 1),)
        return ((self.address, self.address + width), *((each, each + width) for each in self.point.plus), *scale)

    @property
    def start(self) -> int:
        """First register it needs."""
        if self.scale_address is None and not self.point.plus:
            return self.address
        return min(first for first, _ in self.parts)

    @property
    def end(self) -> int:
        """Register after the last one it needs."""
        if self.scale_address is None and not self.point.plus:
            return self.address + self.point.type.registers
        return max(end for _, end in self.parts)


@dataclass(frozen=True, slots=True)
class Block:
    """One read request and the targets that its answer serves, in order of their first register."""

    table: Table
    address: int
    count: int
    targets: tuple[Target, ...]


class Forbidden:
    """Registers that are never read, for looking up quickly."""

    __slots__ = ("_ends", "_firsts")

    def __init__(self, ranges: Iterable[ForbiddenRange] = ()) -> None:
        merged: dict[Table, list[list[int]]] = {}
        for each in sorted(ranges, key=lambda range_: (range_.table, range_.first)):
            known = merged.setdefault(each.table, [])
            if known and each.first <= known[-1][1]:
                known[-1][1] = max(known[-1][1], each.last + 1)
            else:
                known.append([each.first, each.last + 1])
        self._firsts = {table: [first for first, _ in known] for table, known in merged.items()}
        self._ends = {table: [end for _, end in known] for table, known in merged.items()}

    def within(self, table: Table, first: int, end: int) -> tuple[int, int] | None:
        """Return the first and last register of a range that touches [first, end), or None."""
        firsts = self._firsts.get(table)
        if firsts is None:
            return None
        at = bisect_left(firsts, end) - 1
        if at < 0 or self._ends[table][at] <= first:
            return None
        return firsts[at], self._ends[table][at] - 1


@dataclass(frozen=True, slots=True)
class Rules:
    """What a device asks of the reads sent to it; registers are counted in 16 bits."""

    max_registers: int = 125
    max_gap_registers: int = 16
    align_registers: int = 1
    forbidden: Forbidden = field(default_factory=Forbidden)
    one_point_per_request: bool = False

    def extent(self, target: Target) -> tuple[int, int]:
        """Return the smallest aligned read of a target, as (first register, register after the last)."""
        align = self.align_registers
        if align == 1:
            return target.start, target.end
        return target.start // align * align, -(-target.end // align) * align


def plan_blocks(targets: Iterable[Target], rules: Rules, cuts: Collection[Cut] = ()) -> tuple[Block, ...]:
    """Join targets into blocks; each target is in exactly one block, and no two blocks are the same read.

    Raises:
        ValueError: a target cannot be read in one request that keeps the rules; the text names it.
    """
    spans = sorted(
        ((target.table, *rules.extent(target), target) for target in targets), key=lambda span: (*span[:3], span[3].end)
    )
    for _, _, _, target in spans:
        fault = why_unreadable(target, rules)
        if fault is not None:
            raise ValueError(fault)
    if rules.one_point_per_request:
        alike = (list(same) for _, same in groupby(spans, key=lambda span: span[:3]))
        return tuple(_block(same[0][0], same[0][1], same[0][2], [span[3] for span in same]) for same in alike)
    return tuple(_joined(spans, rules, {table: sorted(at for of, at in cuts if of is table) for table in Table}))


def why_unreadable(target: Target, rules: Rules) -> str | None:
    """Return why no single request can read a target, naming it, or None when one can."""
    name, (first, end) = target.point.quantity, rules.extent(target)
    if end - first > rules.max_registers:
        whole = f"{name} and its scale register span" if target.scale_address is not None else f"{name} spans"
        return f"{whole} {end - first} registers, more than the {rules.max_registers} of one read"
    if target.start < 0 or end > _REGISTERS:
        return f"{name} reaches beyond register 65535"
    forbidden = rules.forbidden.within(target.table, first, end)
    if forbidden is not None:
        return (
            f"{name} is read with registers {first}..{end - 1}, of which {forbidden[0]}..{forbidden[1]} are forbidden "
            f"in table {target.table}"
        )
    return None


def split_address(block: Block, rules: Rules) -> int | None:
    """Return where to cut a block that the device refused: between its values, as near to the middle as can be.

    None when the reads of all of its values begin at one register, so that no cut would make it smaller.
    """
    starts = [rules.extent(target)[0] for target in block.targets]
    middle = len(starts) // 2
    at = bisect_left(starts, starts[middle])
    if at == 0:
        at = bisect_right(starts, starts[middle])
    return starts[at] if 0 < at < len(starts) else None


def registers_wanted(targets: Iterable[Target]) -> int:
    """Return how many different registers the targets need."""
    wanted = 0
    table, reached = None, 0
    for of, first, end in sorted((target.table, *part) for target in targets for part in target.parts):
        if of is not table:
            table, reached = of, 0
        wanted += max(0, end - max(first, reached))
        reached = max(reached, end)
    return wanted


_Span = tuple[Table, int, int, Target]
"""A target with its table and the extent of its read."""


def _joined(spans: Sequence[_Span], rules: Rules, cuts: Mapping[Table, Sequence[int]]) -> Iterable[Block]:
    run: list[Target] = []
    run_table, run_first, run_end, last_first = Table.HOLDING, 0, 0, 0
    for table, first, end, target in spans:
        joins = (
            bool(run)
            and run_table is table
            and first - run_end <= rules.max_gap_registers
            and max(run_end, end) - run_first <= rules.max_registers
            and not _is_cut(cuts[table], last_first, first)
            and (first <= run_end or rules.forbidden.within(table, run_end, first) is None)
        )
        if not joins:
            if run:
                yield _block(run_table, run_first, run_end, run)
            run, run_table, run_first, run_end = [], table, first, end
        run.append(target)
        run_end, last_first = max(run_end, end), first
    if run:
        yield _block(run_table, run_first, run_end, run)


def _is_cut(sorted_cuts: Sequence[int], after: int, until: int) -> bool:
    """Whether a cut lies in (after, until]."""
    return bool(sorted_cuts) and bisect_right(sorted_cuts, until) > bisect_right(sorted_cuts, after)


def _block(table: Table, first: int, end: int, run: Sequence[Target]) -> Block:
    return Block(table, first, end - first, tuple(run))
