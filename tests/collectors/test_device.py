"""What a device says about itself: texts and numbers that identify it, settings that its points depend on."""

from __future__ import annotations

from typing import Any

import pytest

from collectors.modbus.device import decode_identity, decode_parameter
from emsd.plant.modbus_map import IdentityRegister, ModbusMap, Parameter

POINT = {"quantity": "frequency_hz", "address": 0, "type": "u16"}


def order_of(**modbus: object) -> ModbusMap:
    return ModbusMap.model_validate({"points": [POINT], **modbus})


def text(registers: int) -> IdentityRegister:
    return IdentityRegister.model_validate({"what": "model", "address": 0, "type": "text", "registers": registers})


def serial(kind: str) -> IdentityRegister:
    return IdentityRegister.model_validate({"what": "serial", "address": 0, "type": kind})


def parameter(kind: str, **fields: object) -> Parameter:
    return Parameter.model_validate({"name": "current_ratio", "address": 0, "type": kind, **fields})


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"PM5560\0\0\0\0", "PM5560"),
        (b"  PM5560  ", "PM5560"),
        (b"\0\0PM5560\0\0", "PM5560"),
        (b"PM5560\0old", "PM5560"),  # what stands behind the end is left over from before
        (b"PM 5560 \0\0", "PM 5560"),
        ("Z\u00e4hler 1\0".encode(), "Z\u00e4hler 1"),
        (b"Z\xe4hler 12\0", "Z\u00e4hler 12"),  # Latin-1
        (b"\0" * 10, None),
        (b" " * 10, None),
        (b"\xff" * 10, None),
        (b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a", None),
    ],
)
def test_a_text_ends_at_nul_and_loses_its_blanks(sent: bytes, read: str | None) -> None:
    assert decode_identity(text(5), sent.ljust(10, b"\0"), order_of()) == read


def test_swapped_bytes_of_a_text_are_swapped_back_and_its_words_stay() -> None:
    assert decode_identity(text(3), b"MP5556", order_of(byte_order="little")) == "PM5565"
    assert decode_identity(text(3), b"PM5560", order_of(word_order="little")) == "PM5560"


@pytest.mark.parametrize(
    ("kind", "sent", "modbus", "read"),
    [
        ("u32", "0001 86A0", {}, "100000"),
        ("u32", "86A0 0001", {"word_order": "little"}, "100000"),
        ("u32", "0100 A086", {"byte_order": "little"}, "100000"),
        ("u16", "15E0", {}, "5600"),
        ("u64", "0000 0002 540B E400", {}, "10000000000"),
        ("f32", "4580 0000", {}, "4096"),
        ("f32", "3FC0 0000", {}, "1.5"),
        ("f32", "7FC0 0000", {}, None),
        ("u32", "FFFF FFFF", {"not_available": {"u32": [0xFFFFFFFF]}}, None),
        ("u32", "FFFF FFFF", {}, "4294967295"),
    ],
)
def test_a_number_that_identifies_is_read_in_the_order_of_the_device(
    kind: str, sent: str, modbus: dict[str, Any], read: str | None
) -> None:
    assert decode_identity(serial(kind), bytes.fromhex(sent), order_of(**modbus)) == read


def test_a_parameter_is_scaled_and_cut_out_of_its_bits() -> None:
    assert decode_parameter(parameter("u16", scale=0.1), b"\x00\x64", order_of()) == pytest.approx(10.0)
    assert decode_parameter(parameter("u16", bits=[4, 7]), b"\x0a\xbc", order_of()) == 11.0
    assert decode_parameter(parameter("i16"), b"\xff\xfe", order_of()) == -2.0
    assert decode_parameter(parameter("f32"), bytes.fromhex("00004348"), order_of(word_order="little")) == 200.0


@pytest.mark.parametrize(
    ("kind", "sent", "fields", "value"),
    [
        ("u16", "0001", {"minimum": 1, "maximum": 9999}, 1.0),
        ("u16", "270F", {"minimum": 1, "maximum": 9999}, 9999.0),
        ("u16", "0000", {"minimum": 1, "maximum": 9999}, None),
        ("u16", "2710", {"minimum": 1, "maximum": 9999}, None),
        ("u16", "FFFF", {}, None),
        ("f32", "7FC0 0000", {}, None),
        ("f32", "7F80 0000", {}, None),
    ],
)
def test_a_parameter_that_is_not_to_be_believed_is_none(
    kind: str, sent: str, fields: dict[str, Any], value: float | None
) -> None:
    order = order_of(not_available={"u16": [0xFFFF]})
    assert decode_parameter(parameter(kind, **fields), bytes.fromhex(sent), order) == value


def test_an_answer_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="takes 4 bytes, not 2"):
        decode_identity(serial("u32"), b"\0\0", order_of())
    with pytest.raises(ValueError, match="takes 6 bytes, not 2"):
        decode_identity(text(3), b"\0\0", order_of())
    with pytest.raises(ValueError, match="takes 2 bytes, not 4"):
        decode_parameter(parameter("u16"), b"\0\0\0\0", order_of())
