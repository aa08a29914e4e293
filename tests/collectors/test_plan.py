"""Blocks: every target once, none split, none too long, no hole too wide, no learned place crossed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.modbus.plan import Block, Cut, Target, plan_blocks, split_address
from emsd.plant.modbus_map import ModbusPoint, RegisterType, ScaleRegister, Table


def target(address: int, kind: str = "u16", table: str = "holding", scale_at: int | None = None) -> Target:
    scale = None if scale_at is None else ScaleRegister(address=scale_at)
    point = ModbusPoint(
        quantity="starts_count", table=Table(table), address=address, type=RegisterType(kind), scale_register=scale
    )
    return Target(point, address, scale_at)


@st.composite
def any_target(draw: st.DrawFn) -> Target:
    address = draw(st.integers(0, 400))
    scale_at = draw(st.none() | st.integers(max(0, address - 8), address + 8))
    return target(
        address, draw(st.sampled_from(["u16", "u32", "f64"])), draw(st.sampled_from(["holding", "input"])), scale_at
    )


def gaps(block: Block) -> list[int]:
    widths = []
    end = block.targets[0].end
    for each in block.targets[1:]:
        widths.append(each.start - end)
        end = max(end, each.end)
    return widths


@given(
    st.lists(any_target(), max_size=60),
    st.integers(16, 125),
    st.integers(0, 40),
    st.booleans(),
    st.sets(st.tuples(st.sampled_from([Table.HOLDING, Table.INPUT]), st.integers(0, 400)), max_size=5),
)
def test_any_targets_are_planned_as_the_rules_say(
    targets: list[Target], longest: int, widest_gap: int, alone: bool, cuts: set[Cut]
) -> None:
    blocks = plan_blocks(
        targets, max_registers=longest, max_gap_registers=widest_gap, one_point_per_request=alone, cuts=cuts
    )
    planned = [each for block in blocks for each in block.targets]
    assert sorted(map(id, planned)) == sorted(map(id, targets))
    for block in blocks:
        assert 1 <= block.count <= longest
        assert block.address == block.targets[0].start
        assert block.address + block.count == max(each.end for each in block.targets)
        for each in block.targets:
            assert each.table is block.table
            assert block.address <= each.start < each.end <= block.address + block.count
        assert all(width <= widest_gap for width in gaps(block))
        assert len(block.targets) == 1 or not alone
        for before, after in pairwise(block.targets):
            assert not any(table is block.table and before.start < at <= after.start for table, at in cuts)


@given(st.lists(any_target(), min_size=1, max_size=60), st.integers(16, 125), st.integers(0, 40))
def test_no_two_neighbouring_blocks_could_have_been_one(targets: list[Target], longest: int, widest_gap: int) -> None:
    blocks = plan_blocks(targets, max_registers=longest, max_gap_registers=widest_gap)
    for before, after in pairwise(blocks):
        if before.table is after.table:
            first = after.targets[0]
            end = before.address + before.count
            assert first.start - end > widest_gap or max(end, first.end) - before.address > longest


@given(st.lists(any_target(), min_size=1, max_size=40))
def test_a_split_leaves_values_on_both_sides(targets: list[Target]) -> None:
    for block in plan_blocks(targets, max_registers=125, max_gap_registers=124):
        at = split_address(block)
        starts = [each.start for each in block.targets]
        if at is None:
            assert len(set(starts)) == 1
        else:
            assert min(starts) < at <= max(starts)


def test_a_scale_register_is_read_with_its_value() -> None:
    (block,) = plan_blocks([target(10, scale_at=40)], max_registers=64, max_gap_registers=0)
    assert (block.address, block.count) == (10, 31)


def test_a_value_too_far_from_its_scale_register_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match="starts_count and its scale register span 107"):
        plan_blocks([target(10, scale_at=116)], max_registers=100, max_gap_registers=0)


def test_planning_looks_at_each_target_a_fixed_number_of_times() -> None:
    class Counting(Target):
        looks = 0

        @property
        def start(self) -> int:
            Counting.looks += 1
            return self.address

    def looks_at(count: int) -> int:
        Counting.looks = 0
        point = target(0).point
        plan_blocks(
            [Counting(point, at) for at in range(0, 2 * count, 2)],
            max_registers=125,
            max_gap_registers=4,
            cuts={(Table.HOLDING, 77)},
        )
        return Counting.looks

    assert looks_at(16_000) <= 17 * looks_at(1_000)
