"""Who a simulated device says it is: a serial number of its own, the model and firmware that its profile expects."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence

from emsd.errors import ConfigurationError
from emsd.plant.modbus_map import INTEGER_WIDTH_BITS, IdentityRegister, ModbusMap, RegisterType
from emsd.plant.profile import Profile
from simulator.noise import uniform_of

__all__ = ["identity_text", "identity_words", "serial_number"]

_FIRMWARE = 102


def serial_number(seed: int, meter_key: str) -> int:
    """Return the serial number of a meter's device: eight digits that belong to it under `seed`."""
    return 10_000_000 + int(uniform_of(seed, "serial", meter_key) * 90_000_000)


def identity_text(register: IdentityRegister, profile: Profile, serial: int) -> str:
    """Return what the device with this serial number has in one of its identity registers.

    Raises:
        ConfigurationError: nothing was found that the profile's own `expect` accepts.
    """
    for candidate in _candidates(register, profile, serial):
        if register.expect is None or re.fullmatch(register.expect, candidate):
            return candidate
    raise ConfigurationError(
        f"profile {profile.profile}: the simulator finds no {register.what} that matches {register.expect!r}; "
        "use an alternative of plain words or numbers"
    )


def identity_words(register: IdentityRegister, text: str, layout: ModbusMap) -> list[int]:
    """Return an identity as registers, in the order of the device; the words of a text are never turned around."""
    if register.type == "text":
        raw = text.encode()[: 2 * register.length].ljust(2 * register.length, b"\0")
    elif register.type in INTEGER_WIDTH_BITS:
        raw = int(text).to_bytes(2 * register.length, "big")
    else:
        raw = struct.pack(">f" if register.length == RegisterType.F32.registers else ">d", float(text))
    words = [raw[at : at + 2] for at in range(0, len(raw), 2)]
    if layout.word_order == "little" and register.type != "text":
        words.reverse()
    return [int.from_bytes(word, "little" if layout.byte_order == "little" else "big") for word in words]


def _candidates(register: IdentityRegister, profile: Profile, serial: int) -> Iterator[str]:
    numeric = register.type != "text"
    if register.what == "serial":
        yield str(serial % 2 ** min(31, 16 * register.length) if numeric else serial)
    elif register.what == "firmware":
        yield str(_FIRMWARE)
    elif not numeric:
        yield from _model_names(profile.model)
    yield from re.findall(r"[A-Za-z0-9._-]+", register.expect or "")
    if numeric:
        yield from map(str, range(1, 2**16))


def _model_names(model: str) -> Sequence[str]:
    """Return the first model that a profile names, then its words: "PowerLogic PM5560 (PM5500 family)"."""
    first = re.split(r"[(,;]", model)[0].strip()
    return first, *first.split()
