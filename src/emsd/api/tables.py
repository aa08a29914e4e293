"""Tables as answers: which format is asked for, how many are written at once, and a stream that never lies.

Whoever has a table in memory calls `table_response`; one that is read from the database as it is sent goes through
`TableResponse` itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager, nullcontext
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeAlias

import structlog
from fastapi import Depends, Query, Request, Response
from starlette.types import Receive, Scope, Send

from emsd.api.problems import Problem, problem_responses
from emsd.errors import FormatUnavailable, StoreError
from emsd.export import Batch, Row, TableFormat, TableSchema, encode, in_batches, require

__all__ = [
    "ExportSlots",
    "OpenRows",
    "Slots",
    "TableFormatParameter",
    "TableResponse",
    "accepted_format",
    "file_name",
    "table_response",
    "table_responses",
]

_log = structlog.get_logger(__name__)

OpenRows: TypeAlias = Callable[[], AbstractAsyncContextManager[AsyncIterator[Batch]]]

_RETRY_AFTER_S: Final = 10
_PIECE_BYTES: Final = 64 * 1024
_STALL_S: Final = 60.0
"""So long [s] a client may take nothing; then it has lost its export, which holds a session of the database."""
_LEAST_BYTES_PER_S: Final = 16 * 1024
"""Who takes less than this for longer has lost it too: an open snapshot keeps the database from tidying up."""

TableFormatParameter: TypeAlias = Annotated[
    TableFormat | None,
    Query(alias="format", description="Format of the table; absent: what the header Accept prefers, else csv."),
]


class ExportSlots:
    """How many tables may be written at the same time: each holds a session of the database's pool."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a slot.

        Raises:
            Problem: 503 with Retry-After, as many as may are being written.
        """
        if not self._free:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "exports-busy",
                f"as many tables as may are being exported now; try again in {_RETRY_AFTER_S} s",
                headers={"Retry-After": str(_RETRY_AFTER_S)},
            )
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


def _slots(request: Request) -> ExportSlots:
    slots: ExportSlots = request.app.state.export_slots
    return slots


Slots: TypeAlias = Annotated[ExportSlots, Depends(_slots)]


class TableResponse(Response):
    """A table that is read, encoded and sent piece by piece; memory does not grow with its length.

    Until the first piece is there, what goes wrong is an ordinary answer. After that the connection is cut without the
    end that HTTP requires, so that no client takes a part for the whole. A client that goes away ends the query.
    """

    def __init__(
        self,
        table_format: TableFormat,
        schema: TableSchema,
        open_rows: OpenRows,
        *,
        name: str,
        slots: ExportSlots | None = None,
        stall_s: float = _STALL_S,
    ) -> None:
        self.status_code = HTTPStatus.OK
        self.background = None
        self._format = table_format
        self._schema = schema
        self._open_rows = open_rows
        self._slots = slots
        self._stall_s = self._patience_s = stall_s
        attachment = f'attachment; filename="{name}.{table_format.suffix}"'
        self.init_headers({"Content-Type": table_format.media_type, "Content-Disposition": attachment})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_begun = False
        try:
            async with self._pieces() as pieces:
                first = await anext(pieces, b"")
                is_begun = True
                async with asyncio.TaskGroup() as tasks:
                    sender = tasks.create_task(self._send(send, first, pieces, scope["path"]), name="export-send")
                    watcher = tasks.create_task(_cancel_when_gone(receive, sender), name="export-watch")
                    sender.add_done_callback(lambda _: watcher.cancel())
        except StoreError as error:
            if not is_begun:
                raise
            # The sender has seen to its client; a session that was lost cannot be given back in order either.
            _log.warning("export_session_lost", path=scope["path"], error=str(error))

    @asynccontextmanager
    async def _pieces(self) -> AsyncIterator[AsyncIterator[bytes]]:
        with self._slots.taken() if self._slots is not None else nullcontext():
            try:
                require(self._format)
            except FormatUnavailable as error:
                raise Problem(HTTPStatus.NOT_IMPLEMENTED, "format-unavailable", str(error)) from error
            async with self._open_rows() as rows, aclosing(encode(self._format, self._schema, rows)) as pieces:
                yield pieces

    async def _send(self, send: Send, first: bytes, pieces: AsyncIterator[bytes], path: str) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        sent_bytes = 0
        try:
            await self._send_piece(send, first)
            sent_bytes += len(first)
            async for piece in pieces:
                await self._send_piece(send, piece)
                sent_bytes += len(piece)
        except asyncio.CancelledError:
            _log.info("export_left", path=path, sent_bytes=sent_bytes)  # by its client, or the service stops
            raise
        except (StoreError, TimeoutError) as error:
            # Returning without the last message of the body makes the server cut the connection.
            _log.warning("export_aborted", path=path, sent_bytes=sent_bytes, error=str(error) or "the client stalls")
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_piece(self, send: Send, piece: bytes) -> None:
        for start in range(0, len(piece), _PIECE_BYTES):
            part = piece[start : start + _PIECE_BYTES]
            began_s = time.monotonic()
            async with asyncio.timeout(self._patience_s):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            # What a client is faster than it must be makes up for what it was slower, up to the longest stall.
            left_s = self._patience_s - (time.monotonic() - began_s) + len(part) / _LEAST_BYTES_PER_S
            self._patience_s = min(self._stall_s, max(left_s, 0.0))


def table_response(table_format: TableFormat, schema: TableSchema, rows: Sequence[Row], *, name: str) -> TableResponse:
    """Return a table that is in memory as an answer; `name` is that of its file, without suffix."""

    @asynccontextmanager
    async def open_rows() -> AsyncIterator[AsyncIterator[Batch]]:
        yield in_batches(schema, rows)

    return TableResponse(table_format, schema, open_rows, name=name)


def table_responses(*statuses: int, beside: str | None = None) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of an operation that answers with a table, and its problems.

    `beside` describes the answer of an operation that has JSON too.
    """
    binary = {"schema": {"type": "string", "format": "binary"}}
    content = {each.media_type.partition(";")[0]: binary for each in TableFormat}
    problems = problem_responses(*statuses, 503)
    busy = (
        "The database cannot be reached, or too many tables are being exported; try again after `Retry-After` seconds."
    )
    missing = "This installation cannot write that format; the detail says what to install."
    return {
        200: {"description": beside or "The table, as a file.", "content": content},
        **problems,
        501: {**problems[503], "description": missing},
        503: {**problems[503], "description": busy},
    }


def accepted_format(request: Request) -> TableFormat | None:
    """Return the format that the Accept header prefers; None when it names none of them (RFC 9110, section 12.5.1)."""
    known = {each.media_type.partition(";")[0]: each for each in TableFormat}
    best: tuple[float, TableFormat | None] = (0.0, None)
    for part in request.headers.get("accept", "").split(","):
        media_type, *parameters = (each.strip().lower() for each in part.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        try:
            weight = float(quality)
        except ValueError:
            continue
        if media_type in known and weight > best[0]:
            best = weight, known[media_type]
    return best[1]


def file_name(what: str, from_: datetime, to: datetime) -> str:
    """Return the name of a file, without suffix: emsd-readings-20260101T000000Z-20260201T000000Z."""
    begin, end = (bound.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ") for bound in (from_, to))
    return f"emsd-{what}-{begin}-{end}"


async def _cancel_when_gone(receive: Receive, sender: asyncio.Task[None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    sender.cancel()
