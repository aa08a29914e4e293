"""Every "no value" that a shipped profile lists is NULL and flagged at every point that it concerns, and only there."""

from __future__ import annotations

from typing import Final

import pytest

from collectors.modbus.codec import BlockDecoder
from collectors.modbus.plan import Block, Target
from collectors.modbus.reads import Reads
from emsd.plant.modbus_map import ModbusMap, RegisterType
from emsd.readings import Quality
from tests.collectors.support import shipped_profiles

DOCUMENTED: Final[dict[str, dict[str, int]]] = {
    "abb_b23": {"u16": 1, "i16": 2, "u32": 1, "i32": 2, "u64": 1},
    "carlo_gavazzi_em340": {"i32": 1},
    "carrier_23xrv": {"f32": 3},
    "fronius_datamanager": {"u32": 1, "u64": 1},
    "huawei_sun2000": {"u16": 1, "i16": 1, "u32": 1, "i32": 1, "u64": 1},
    "mbmet500": {"f32": 1},
    "midea_m_thermal": {"u16": 2, "i16": 2},
    "schneider_pm5110": {"u16": 1, "u32": 1},
    "schneider_pm5560": {"u16": 1, "u32": 1},
    "sma_tripower": {"i32": 1, "u32": 2, "u64": 1},
    "sungrow_sg110cx": {"u16": 1, "i16": 2, "u32": 1, "i32": 2},
    "trane_rthd": {"u16": 1},
    "york_ipu2": {"i16": 1},
    "york_ipu2_imperial": {"i16": 1},
}
"""How many patterns mean "no value", by vendor and type; the patterns themselves are held in test_codec.py."""


MAPS: Final = {name: profile.modbus for name, profile in shipped_profiles().items() if profile.modbus is not None}


def patterns_of(target: Target, registers: ModbusMap) -> tuple[int, ...]:
    point = target.point
    return point.not_available if point.not_available is not None else registers.not_available.get(point.type, ())


def put(payload: bytearray, block: Block, target: Target, pattern: int, registers: ModbusMap) -> None:
    """Write a pattern where the device would: most significant first, then as its word and byte order say."""
    size = 2 * target.point.type.registers
    data = pattern.to_bytes(size, "big")
    words = [data[at : at + 2] for at in range(0, size, 2)]
    if registers.word_order == "little":
        words.reverse()
    if registers.byte_order == "little":
        words = [word[::-1] for word in words]
    begin = 2 * (target.address - block.address)
    payload[begin : begin + size] = b"".join(words)


def decoded(payload: bytes, block: Block, registers: ModbusMap) -> tuple[dict[str, float | None], int]:
    parameters = {parameter.name: 1.0 for parameter in registers.parameters}
    decoder = BlockDecoder(block, registers, None, parameters)
    values, quality, _ = decoder.decode(payload)
    return dict(zip(decoder.names, values, strict=True)), quality


FLOATS: Final = {RegisterType.F32: (0x3F800000, 0x42480000, 0x437A0000), RegisterType.F64: (0x4049000000000000,)}
PLAUSIBLE: Final = (1, 50, 500, 5000, 2300, 100)


def sound(block: Block, registers: ModbusMap) -> bytearray:
    """Return an answer in which as many values as possible are plausible."""
    payload = bytearray(2 * block.count)
    for target in block.targets:
        for raw in (*(target.point.states or ()), *FLOATS.get(target.point.type, PLAUSIBLE)):
            put(payload, block, target, raw, registers)
            if decoded(bytes(payload), block, registers)[0][target.point.quantity] is not None:
                break
    return payload


@pytest.mark.parametrize("name", [name for name in MAPS if name in DOCUMENTED])
def test_a_vendors_sentinel_is_no_value_at_every_point_and_its_neighbours_are_kept(name: str) -> None:
    registers = MAPS[name]
    tried: dict[str, set[int]] = {}
    reads = Reads(registers, 1.0, None)
    blocks = [request.block for request in reads.requests(reads.rates_s)]
    for block in blocks:
        before = sound(block, registers)
        usual, _ = decoded(bytes(before), block, registers)
        for target in block.targets:
            for pattern in patterns_of(target, registers):
                answer = bytearray(before)
                put(answer, block, target, pattern, registers)
                values, quality = decoded(bytes(answer), block, registers)
                quantity = target.point.quantity
                assert usual[quantity] is not None, f"{quantity} has a value otherwise"
                assert values[quantity] is None, (quantity, hex(pattern))
                assert quality & Quality.NOT_AVAILABLE
                # Points may show different bits of the same registers, or one may be added to another.
                apart = [each for each in block.targets if not shares_registers(each, target)]
                for each in apart:
                    assert values[each.point.quantity] == usual[each.point.quantity]
                tried.setdefault(target.point.type.value, set()).add(pattern)
    assert set(tried) <= set(DOCUMENTED[name])
    listed = {kind.value: set(patterns) for kind, patterns in registers.not_available.items()}
    for kind, count in DOCUMENTED[name].items():
        assert len(tried.get(kind, set()) | listed.get(kind, set())) == count


def shares_registers(one: Target, other: Target) -> bool:
    return any(first < end and start < last for first, last in one.parts for start, end in other.parts)


def test_no_shipped_profile_lists_a_sentinel_that_is_not_tried_here() -> None:
    listing = {
        name
        for name, registers in MAPS.items()
        if any(registers.not_available.values()) or any(point.not_available for point in registers.points)
    }
    assert listing == set(DOCUMENTED)
