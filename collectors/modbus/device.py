"""What a device says about itself: who it is, and the settings that its points depend on."""

from __future__ import annotations

import math

from collectors.modbus.raw import absent_raws, bit_field, number_of, swap_bytes
from emsd.plant.modbus_map import IdentityRegister, ModbusMap, Parameter, RegisterType

__all__ = ["decode_identity", "decode_parameter"]


def decode_identity(register: IdentityRegister, payload: bytes, order: ModbusMap) -> str | None:
    """Return what stands in an identity register as text; None where the device has nothing there.

    A text ends at its first NUL and loses blanks at both ends. The word order is that of numbers and does not turn a
    text around; swapped bytes are swapped back.

    Args:
        register: what is read.
        payload: its registers as they came, two bytes each.
        order: word and byte order, and sentinels by type.

    Raises:
        ValueError: the payload is not as long as the register says.
    """
    if len(payload) != 2 * register.length:
        raise ValueError(f"{register.what} takes {2 * register.length} bytes, not {len(payload)}")
    if register.type == "text":
        return _text(swap_bytes(payload).tobytes() if order.byte_order == "little" else payload)
    kind = RegisterType(register.type)
    raw = number_of(kind, payload, order)
    if raw in absent_raws(kind, order.not_available.get(kind, ())) or not math.isfinite(raw):
        return None
    return str(int(raw)) if raw == int(raw) else repr(raw)


def decode_parameter(parameter: Parameter, payload: bytes, order: ModbusMap) -> float | None:
    """Return the value of a parameter; None where the device has none, or one that is not to be believed.

    Args:
        parameter: what is read.
        payload: its registers as they came, two bytes each.
        order: word and byte order, and sentinels by type.

    Raises:
        ValueError: the payload is not as long as the parameter, or its type has no such bits.
    """
    raw = number_of(parameter.type, payload, order)
    if raw in absent_raws(parameter.type, order.not_available.get(parameter.type, ())) or not math.isfinite(raw):
        return None
    value = parameter.scale * (bit_field(parameter.type, parameter.bits)(raw) if parameter.bits else raw)
    low = -math.inf if parameter.minimum is None else parameter.minimum
    high = math.inf if parameter.maximum is None else parameter.maximum
    return value if low <= value <= high else None


def _text(characters: bytes) -> str | None:
    """Read text: UTF-8, else Latin-1; what cannot be printed is no text."""
    ended = characters.strip(b"\0 ").partition(b"\0")[0]
    try:
        text = ended.decode("utf-8")
    except UnicodeDecodeError:
        text = ended.decode("latin-1") if ended.strip(b"\xff") else ""
    text = text.strip()
    return text if text and text.isprintable() else None
