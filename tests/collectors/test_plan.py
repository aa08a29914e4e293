"""Blocks: every target once, none split, none too long, aligned, nothing forbidden, no learned place crossed."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.modbus.plan import (
    Block,
    Cut,
    Forbidden,
    Rules,
    Target,
    plan_blocks,
    registers_wanted,
    split_address,
    why_unreadable,
)
from collectors.modbus.reads import Reads, Request
from emsd.collector import PlanEfficiency
from emsd.plant.modbus_map import ForbiddenRange, ModbusMap, ModbusPoint, RegisterType, ScaleRegister, Table
from emsd.quantities import BY_NAME

GAUGES = [name for name in BY_NAME if name != "run_state"]


def target(
    address: int, kind: str = "u16", table: str = "holding", scale_at: int | None = None, plus: tuple[int, ...] = ()
) -> Target:
    scale = None if scale_at is None else ScaleRegister(address=scale_at)
    point = ModbusPoint(
        quantity="starts_count",
        table=Table(table),
        address=address,
        type=RegisterType(kind),
        scale_register=scale,
        plus=plus,
    )
    return Target(point, address, scale_at)


def registers(*points: dict[str, Any], **settings: Any) -> ModbusMap:
    return ModbusMap.model_validate({"points": points, **settings})


@st.composite
def any_target(draw: st.DrawFn) -> Target:
    address = draw(st.integers(0, 400))
    near = st.integers(max(0, address - 8), address + 8)
    kind, table = draw(st.sampled_from(["u16", "u32", "f64"])), draw(st.sampled_from(["holding", "input"]))
    if draw(st.booleans()):
        return target(address, kind, table, plus=tuple(draw(st.lists(near, max_size=2))))
    return target(address, kind, table, draw(st.none() | near))


@st.composite
def any_forbidden(draw: st.DrawFn) -> ForbiddenRange:
    first = draw(st.integers(0, 400))
    return ForbiddenRange(
        table=draw(st.sampled_from([Table.HOLDING, Table.INPUT])), first=first, last=first + draw(st.integers(0, 9))
    )


def needs(each: Target) -> set[int]:
    """Registers of a target, counted out without the code under test."""
    width = each.point.type.registers
    heads = [each.address, *each.point.plus]
    taken = {at + step for at in heads for step in range(width)}
    return taken if each.scale_address is None else taken | {each.scale_address}


def gaps(block: Block, align: int) -> list[int]:
    """Holes between the aligned reads of the targets of a block."""
    extents = sorted((min(needs(each)) // align, max(needs(each)) // align + 1) for each in block.targets)
    widths, reached = [], extents[0][1]
    for first, end in extents[1:]:
        widths.append((first - reached) * align)
        reached = max(reached, end)
    return widths


@given(
    st.lists(any_target(), max_size=60),
    st.integers(24, 125),
    st.integers(0, 40),
    st.integers(1, 4),
    st.lists(any_forbidden(), max_size=5),
    st.booleans(),
    st.sets(st.tuples(st.sampled_from([Table.HOLDING, Table.INPUT]), st.integers(0, 400)), max_size=5),
)
def test_any_targets_are_planned_as_the_rules_say(
    drawn: list[Target],
    longest: int,
    widest_gap: int,
    align: int,
    ranges: list[ForbiddenRange],
    alone: bool,
    cuts: set[Cut],
) -> None:
    rules = Rules(longest, widest_gap, align, Forbidden(ranges), one_point_per_request=alone)
    targets = [each for each in drawn if why_unreadable(each, rules) is None]
    barred = {(each.table, at) for each in ranges for at in range(each.first, each.last + 1)}
    blocks = plan_blocks(targets, rules, cuts)
    planned = [each for block in blocks for each in block.targets]
    assert sorted(map(id, planned)) == sorted(map(id, targets))
    for block in blocks:
        read = set(range(block.address, block.address + block.count))
        assert block.count <= longest
        assert block.address % align == block.count % align == 0
        assert read <= set(range(65536))
        assert barred.isdisjoint((block.table, at) for at in read)
        for each in block.targets:
            assert each.table is block.table
            assert needs(each) <= read
        wanted = set().union(*map(needs, block.targets))
        assert min(wanted) - block.address < align
        assert block.address + block.count - 1 - max(wanted) < align
        assert all(width <= widest_gap for width in gaps(block, align))
        if alone:
            assert len({(min(needs(each)) // align, max(needs(each)) // align) for each in block.targets}) == 1
        else:
            firsts = [min(needs(each)) // align * align for each in block.targets]
            for before, after in pairwise(firsts):
                assert not any(table is block.table and before < at <= after for table, at in cuts)
    assert len({(block.table, block.address, block.count) for block in blocks}) == len(blocks)
    counted = len({(each.table, at) for each in targets for at in needs(each)})
    assert registers_wanted(targets) == counted <= sum(block.count for block in blocks)


@given(
    st.sets(st.integers(0, 60), min_size=1, max_size=12),
    st.integers(2, 24),
    st.integers(0, 12),
    st.sampled_from([1, 2]),
    st.sets(st.integers(0, 60), max_size=3),
)
def test_no_plan_of_the_same_rules_needs_fewer_requests(
    addresses: set[int], longest: int, widest_gap: int, align: int, barred: set[int]
) -> None:
    rules = Rules(longest, widest_gap, align, Forbidden(ForbiddenRange(first=at, last=at) for at in barred))
    targets = [each for each in map(target, sorted(addresses)) if why_unreadable(each, rules) is None]
    spans = [rules.extent(each) for each in targets]

    def one_read(run: list[tuple[int, int]]) -> bool:
        first, end = run[0][0], run[-1][1]
        holes = all(after[0] - before[1] <= widest_gap for before, after in pairwise(run))
        return holes and end - first <= longest and not barred & set(range(first, end))

    @lru_cache
    def fewest(start: int) -> int:
        ends = [end for end in range(start + 1, len(spans) + 1) if one_read(spans[start:end])]
        return min((1 + fewest(end) for end in ends), default=0)

    assert len(plan_blocks(targets, rules)) == fewest(0)


@given(st.lists(any_target(), min_size=1, max_size=60), st.integers(24, 125), st.integers(0, 40))
def test_no_two_neighbouring_blocks_could_have_been_one(targets: list[Target], longest: int, widest_gap: int) -> None:
    for before, after in pairwise(plan_blocks(targets, Rules(longest, widest_gap))):
        if before.table is after.table:
            first = after.targets[0]
            end = before.address + before.count
            assert first.start - end > widest_gap or max(end, first.end) - before.address > longest


@given(st.lists(any_target(), min_size=1, max_size=40), st.integers(1, 4))
def test_a_split_leaves_values_on_both_sides(targets: list[Target], align: int) -> None:
    rules = Rules(max_gap_registers=124, align_registers=align)
    for block in plan_blocks(targets, rules):
        at = split_address(block, rules)
        starts = [rules.extent(each)[0] for each in block.targets]
        if at is None:
            assert len(set(starts)) == 1
        else:
            assert min(starts) < at <= max(starts)


@given(
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from(["u16", "u32", "f64"])), min_size=1, max_size=30),
    st.sets(st.integers(0, 203), max_size=12),
    st.sampled_from([1, 2]),
)
def test_splitting_by_halves_ends_and_loses_only_what_stands_in_unreadable_registers(
    placed: list[tuple[int, str]], unreadable: set[int], align: int
) -> None:
    points: list[dict[str, Any]] = [
        {"quantity": n, "address": at, "type": kind} for n, (at, kind) in zip(GAUGES, placed, strict=False)
    ]
    reads = Reads(registers(*points, align_registers=align, max_registers=60), 1.0, None)
    rules = Rules(align_registers=align)
    extents = {point["quantity"]: rules.extent(target(point["address"], point["type"])) for point in points}
    # What begins at one register cannot be told apart by splitting.
    bad = {extent[0] for extent in extents.values() if unreadable & set(range(*extent))}
    readable = {name for name, extent in extents.items() if extent[0] not in bad}

    def poll() -> tuple[set[str], int]:
        pending, answered, refusals = list(reads.requests(())), set[str](), 0
        while pending:
            request: Request = pending.pop()
            asked = range(request.block.address, request.block.address + request.block.count)
            if unreadable.isdisjoint(asked):
                answered.update(request.names)
                reads.learn(request.cuts)
            else:
                refusals += 1
                assert refusals <= 2 * len(points)
                pending += reads.halves(request)
        return answered, refusals

    answered, refusals = poll()
    assert answered == readable
    again, refusals_again = poll()
    assert again == readable
    assert refusals_again <= refusals


def test_a_scale_register_is_read_with_its_value() -> None:
    (block,) = plan_blocks([target(10, scale_at=40)], Rules(64, 0))
    assert (block.address, block.count) == (10, 31)


def test_registers_that_are_added_up_are_read_in_one_request() -> None:
    (block,) = plan_blocks([target(30, "u32", plus=(10, 50))], Rules(64, 0))
    assert (block.address, block.count) == (10, 42)
    assert registers_wanted(block.targets) == 6


def test_a_value_too_far_from_its_scale_register_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match="starts_count and its scale register span 107"):
        plan_blocks([target(10, scale_at=116)], Rules(100, 0))


@pytest.mark.parametrize(
    ("point", "words"),
    [
        (
            target(12, "u32"),
            "starts_count is read with registers 12..13, of which 13..20 are forbidden in table holding",
        ),
        (target(10, scale_at=30), "registers 10..30, of which 13..20 are forbidden"),
        (target(22, plus=(8,)), "registers 8..22, of which 13..20 are forbidden"),
    ],
)
def test_a_point_in_or_across_a_forbidden_range_is_refused_with_its_name(point: Target, words: str) -> None:
    ranges = [ForbiddenRange(first=15, last=20), ForbiddenRange(first=13, last=16)]
    with pytest.raises(ValueError, match=words):
        plan_blocks([point], Rules(forbidden=Forbidden(ranges)))
    assert plan_blocks([target(15, table="input")], Rules(forbidden=Forbidden(ranges)))


@pytest.mark.parametrize(
    ("point", "align", "longest", "words"),
    [
        (target(3), 2, 125, r"registers 2\.\.3, of which 2\.\.2 are forbidden"),
        (target(65535), 3, 125, "beyond register 65535"),
        (target(5, "f64"), 4, 6, "spans 8 registers, more than the 6"),
    ],
)
def test_a_point_that_cannot_be_read_aligned_is_refused(point: Target, align: int, longest: int, words: str) -> None:
    rules = Rules(longest, align_registers=align, forbidden=Forbidden([ForbiddenRange(first=2, last=2)]))
    with pytest.raises(ValueError, match=words):
        plan_blocks([point], rules)


def test_an_even_device_is_never_asked_for_an_odd_number_of_registers() -> None:
    points = [target(at) for at in (1, 3, 8)]
    (block,) = plan_blocks(points, Rules(60, align_registers=2))
    assert (block.address, block.count) == (0, 10)


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
        ranges = [ForbiddenRange(first=at, last=at) for at in range(1, 2 * count, 64)]
        rules = Rules(125, 4, forbidden=Forbidden(ranges))
        plan_blocks([Counting(point, at) for at in range(0, 2 * count, 2)], rules, {(Table.HOLDING, 77)})
        return Counting.looks

    assert looks_at(10_000) == 10 * looks_at(1_000)


def test_a_gap_that_the_profile_writes_wins_over_that_of_the_line() -> None:
    points = [{"quantity": "frequency_hz", "address": 0, "type": "u16"}]
    points.append({"quantity": "active_power_kw", "address": 20, "type": "u16"})

    def requests(gap_registers: int | None, **written: int) -> int:
        return len(Reads(registers(*points, **written), 1.0, None, gap_registers=gap_registers).requests(()))

    assert [requests(None), requests(19), requests(18)] == [2, 1, 2]
    assert [requests(19, max_gap_registers=16), requests(0, max_gap_registers=19)] == [2, 1]


def test_the_efficiency_of_a_plan_counts_each_register_once_and_all_rates() -> None:
    reads = Reads(
        registers(
            {"quantity": "active_power_kw", "address": 0, "type": "i32"},
            {"quantity": "reactive_power_kvar", "address": 0, "type": "i32"},
            {"quantity": "energy_import_kwh", "address": 8, "type": "u32", "interval_s": 10},
            {"quantity": "frequency_hz", "address": 100, "type": "u16"},
        ),
        1.0,
        None,
    )
    assert reads.efficiency() == PlanEfficiency(requests=2, registers_wanted=5, registers_read=11)
    reads.learn([(Table.HOLDING, 8)])
    assert reads.efficiency() == PlanEfficiency(requests=3, registers_wanted=5, registers_read=5)
    assert reads.efficiency().share == 1.0


def test_parameters_that_changed_are_used_by_the_next_answer_and_the_same_ones_cost_nothing() -> None:
    reads = Reads(
        registers(
            {"quantity": "active_power_kw", "address": 0, "type": "u16", "times": ["ratio"]},
            parameters=[{"name": "ratio", "address": 90, "type": "u16"}],
        ),
        1.0,
        None,
    )

    def value() -> float | None:
        ((got,), _, _) = reads.requests(())[0].decoder.decode(b"\x00\x07")
        return got

    assert value() is None
    reads.settle({"ratio": 20.0})
    assert value() == 140.0
    settled = reads.requests(())
    reads.settle({"ratio": 20.0})
    assert reads.requests(()) is settled
    reads.settle({"ratio": 30.0})
    assert value() == 210.0
    reads.settle({})
    assert value() is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"parameters": [{"name": "ratio", "address": 49, "type": "u32"}]},
            "parameter ratio stands in registers 50..59",
        ),
        (
            {"identity": [{"what": "serial", "address": 55, "type": "u16"}]},
            "identity serial stands in registers 50..59",
        ),
    ],
)
def test_settings_of_a_device_in_a_forbidden_range_are_refused(settings: dict[str, Any], words: str) -> None:
    point = {"quantity": "frequency_hz", "address": 0, "type": "u16"}
    with pytest.raises(ValueError, match=words):
        Reads(registers(point, forbidden=[{"first": 50, "last": 59}], **settings), 1.0, None)


@pytest.mark.parametrize("at", [0, 100, 102, 200])
def test_a_sunspec_point_that_stands_in_a_forbidden_range_is_unsupported(at: int) -> None:
    points = [
        {"quantity": "frequency_hz", "model": 103, "offset": 16, "type": "u16"},
        {"quantity": "active_power_kw", "model": 103, "offset": 14, "type": "i16"},
    ]
    reads = Reads(registers(*points, sunspec_bases=[0], forbidden=[{"first": 116, "last": 116}]), 1.0, None)
    assert not reads.placed
    assert reads.place({103: at})
    names = {name for request in reads.requests(()) for name in request.names}
    barred = {"frequency_hz"} if at == 100 else {"active_power_kw"} if at == 102 else set()
    assert names == {"frequency_hz", "active_power_kw"} - barred
    assert set(reads.unsupported) == barred
    for request in reads.requests(()):
        assert not request.block.address <= 116 < request.block.address + request.block.count


def test_points_by_name_are_planned_where_the_devices_models_stand() -> None:
    names = {
        "frequency_hz": {103: "Hz", 113: "Hz"},
        "active_power_kw": {103: "W"},
        "dc_power_kw": {160: "module[0].DCW"},
    }
    wanted: list[dict[str, Any]] = [{"quantity": quantity, "names": models} for quantity, models in names.items()]
    wanted[2]["interval_s"] = 10
    reads = Reads(registers(sunspec=wanted, sunspec_bases=[40000]), 1.0, None)
    assert (reads.walks, reads.placed, reads.rates_s) == (True, False, (10.0,))
    assert reads.efficiency().requests == 2
    assert reads.place({1: 2, 103: 70})
    assert reads.unsupported == ("dc_power_kw",)
    (request,) = reads.requests((10.0,))
    # Model 103: W at 14 with its scale factor at 15, Hz at 16 and 17.
    assert (request.block.address, request.block.count, set(request.names)) == (
        84,
        4,
        {"frequency_hz", "active_power_kw"},
    )


def test_a_point_by_name_that_no_definition_has_is_refused_before_anything_starts() -> None:
    wanted = [{"quantity": "frequency_hz", "names": {103: "Hz", 160: "Hertz"}}]
    with pytest.raises(ValueError, match=r"frequency_hz: SunSpec model 160 .* has no number Hertz"):
        Reads(registers(sunspec=wanted, sunspec_bases=[40000]), 1.0, None)
