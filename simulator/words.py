"""Bits as the registers of a device, in its word and byte order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from emsd.plant.modbus_map import ModbusMap

__all__ = ["BitsArray", "WordArray", "register_words", "words_of"]

BitsArray = npt.NDArray[np.uint64]
WordArray = npt.NDArray[np.uint16]


def register_words(raw: BitsArray, registers: int, *, words_swapped: bool, bytes_swapped: bool) -> WordArray:
    """Return bits as registers, shape [n, registers], most significant first unless they are swapped."""
    shifts = np.arange(registers - 1, -1, -1, dtype=np.uint64) * np.uint64(16)
    words = ((raw[:, None] >> shifts) & np.uint64(0xFFFF)).astype(np.uint16)
    if words_swapped:
        words = words[:, ::-1]
    return words.byteswap() if bytes_swapped else words


def words_of(raw: int, registers: int, layout: ModbusMap) -> WordArray:
    """Return one number's bits as the registers of a device."""
    swapped = {
        "words_swapped": layout.word_order == "little",
        "bytes_swapped": layout.byte_order == "little",
    }
    words: WordArray = register_words(np.array([raw], dtype=np.uint64), registers, **swapped)[0]
    return words
