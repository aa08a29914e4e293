"""Logging: one event a line, JSON in production, readable in a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO, cast

import structlog

__all__ = ["configure_logging"]


class _UnfailingStream:
    """A stream whose failures stop nobody.

    A full disk or a pipe that nobody reads any more would otherwise end the task that only wanted to say something; a
    plant that is measured without a log is better than one that is not measured.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost = 0
        """Pieces of text that could not be written."""

    def write(self, text: str) -> int:
        """Write, or count what is lost."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # ValueError: it was closed
            self.lost += 1
            return len(text)

    def flush(self) -> None:
        """Flush, or let it be."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self.lost += 1


_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logging(
    *,
    level: Literal["debug", "info", "warning", "error"] = "info",
    style: Literal["auto", "console", "json"] = "auto",
    stream: TextIO | None = None,
) -> None:
    """Send the events of emsd, and the warnings of the libraries under it, to `stream` (standard error).

    Events are named in snake_case and carry key-values; times are UTC. Secrets are never among the values: the
    plant keeps passwords and notification URLs as SecretStr, which prints as stars.
    """
    target = stream if stream is not None else sys.stderr
    unfailing = cast("TextIO", _UnfailingStream(target))
    as_json = style == "json" or (style == "auto" and not target.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        # The default also prints local variables, which may hold a token or a password.
        else [structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(file=unfailing),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        stream=unfailing, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s", force=True
    )
