"""Read a damaged SQLite file page by page, without its index, header or write-ahead log being whole.

Every page of a table's rows (a "table b-tree leaf") says where its rows begin, and each row leads to the pages its long
values overflow into, so a row can be read whatever has become of the rest of the file. Newer images of pages stand in
the write-ahead log. What is found may be old, torn or nonsense: whoever asks must have a checksum of his own.

Format: "Database File Format", sections 1.5 (b-tree pages), 1.6 (overflow pages), 2.1 (records) and 4.1 (the log),
sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

__all__ = ["salvage_rows"]

TABLE_LEAF: Final = 0x0D
FIRST_PAGE_HEADER: Final = 100
LOG_MAGIC: Final = frozenset({0x377F0682, 0x377F0683})
LOG_HEADER: Final = struct.Struct(">8I")
FRAME_HEADER: Final = struct.Struct(">6I")
INTEGER_BYTES: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
CONSTANTS: Final = {8: 0, 9: 1}
LARGEST_ROW_BYTES: Final = 256 * 1024 * 1024  # nonsense may look like a row of any length

Value = int | bytes | None


def salvage_rows(path: Path, page_bytes: int) -> Iterator[tuple[int, tuple[Value, ...]]]:
    """Yield (row id, values) of every row of integers and blobs in any page of the file and its log.

    Raises:
        OSError: the file cannot be read.
    """
    with ExitStack() as opened:
        main = _mapped(path, opened)
        log = _mapped(path.with_name(path.name + "-wal"), opened)
        pages = _Pages(main, log, page_bytes)
        for number in range(1, pages.count + 1):
            yield from _rows(pages, number)


class _Pages:
    """The newest image of every page, the first being number 1."""

    def __init__(self, main: bytes | mmap.mmap, log: bytes | mmap.mmap, page_bytes: int) -> None:
        self.bytes = page_bytes
        self._main = main
        self._log = log
        self._newest = _log_images(log, page_bytes)
        self.count = max((len(main) // page_bytes, *self._newest))

    def page(self, number: int) -> bytes:
        """Return a page; empty when there is none of that number."""
        if (offset := self._newest.get(number)) is not None:
            return self._log[offset : offset + self.bytes]
        begin = (number - 1) * self.bytes
        return self._main[begin : begin + self.bytes] if number > 0 else b""


def _mapped(path: Path, opened: ExitStack) -> bytes | mmap.mmap:
    if not path.exists() or path.stat().st_size == 0:
        return b""
    file = opened.enter_context(path.open("rb"))
    return opened.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _log_images(log: bytes | mmap.mmap, page_bytes: int) -> dict[int, int]:
    """Return page number -> where its newest image begins in the log; frames of an earlier round have other salts."""
    if len(log) < LOG_HEADER.size:
        return {}
    magic, _, logged_page_bytes, _, *salts = LOG_HEADER.unpack_from(log)[:6]
    if magic not in LOG_MAGIC or logged_page_bytes != page_bytes:
        return {}
    newest: dict[int, int] = {}
    for begin in range(LOG_HEADER.size, len(log) - FRAME_HEADER.size - page_bytes + 1, FRAME_HEADER.size + page_bytes):
        number, _, *frame_salts = FRAME_HEADER.unpack_from(log, begin)[:4]
        if frame_salts == salts:
            newest[number] = begin + FRAME_HEADER.size
    return newest


def _rows(pages: _Pages, number: int) -> Iterator[tuple[int, tuple[Value, ...]]]:
    page = pages.page(number)
    header = FIRST_PAGE_HEADER if number == 1 else 0
    if len(page) < pages.bytes or page[header] != TABLE_LEAF:
        return
    cells = int.from_bytes(page[header + 3 : header + 5], "big")
    for place in range(min(cells, pages.bytes // 2)):
        pointer = header + 8 + 2 * place
        begin = int.from_bytes(page[pointer : pointer + 2], "big")
        try:
            size, begin = _varint(page, begin)
            row_id, begin = _varint(page, begin)
            values = _values(_payload(pages, page, begin, size))
        except (ValueError, IndexError):  # damaged
            continue
        yield row_id, values


def _payload(pages: _Pages, page: bytes, begin: int, size: int) -> bytes:
    """The bytes of a row: those on its page, and those on the overflow pages that follow one another."""
    usable = pages.bytes
    largest = usable - 35
    if size > min(pages.count * usable, LARGEST_ROW_BYTES):
        raise ValueError("longer than the file")
    if size <= largest:
        return page[begin : begin + size]
    least = (usable - 12) * 32 // 255 - 23
    local = least + (size - least) % (usable - 4)
    if local > largest:
        local = least
    pieces = [page[begin : begin + local]]
    following = int.from_bytes(page[begin + local : begin + local + 4], "big")
    left = size - local
    while left > 0:
        overflow = pages.page(following)
        if len(overflow) < usable:
            raise ValueError("a page is missing")
        pieces.append(overflow[4 : 4 + left])
        following = int.from_bytes(overflow[:4], "big")
        left -= usable - 4
    return b"".join(pieces)


def _values(record: bytes) -> tuple[Value, ...]:
    header_bytes, begin = _varint(record, 0)
    if header_bytes > len(record):
        raise ValueError("longer than the record")
    values: list[Value] = []
    place = header_bytes
    while begin < header_bytes:
        kind, begin = _varint(record, begin)
        if kind == 0:
            values.append(None)
        elif kind in CONSTANTS:
            values.append(CONSTANTS[kind])
        elif kind in INTEGER_BYTES:
            end = place + INTEGER_BYTES[kind]
            values.append(int.from_bytes(record[place:end], "big", signed=True))
            place = end
        elif kind >= 12 and kind % 2 == 0:
            end = place + (kind - 12) // 2
            values.append(record[place:end])
            place = end
        else:
            raise ValueError("neither an integer nor a blob")
    return tuple(values)


def _varint(data: bytes, begin: int) -> tuple[int, int]:
    """Return a variable-length integer (section 1.6, "Cell Format") and where it ends."""
    value = 0
    for place in range(begin, begin + 8):
        value = value << 7 | data[place] & 0x7F
        if data[place] < 0x80:
            return value, place + 1
    return value << 8 | data[begin + 8], begin + 9
