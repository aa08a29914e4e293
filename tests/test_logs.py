"""Logging says what happens and never stops it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr

from emsd.logs import configure_logging


@pytest.fixture(autouse=True)
def standard_logging() -> Iterator[None]:
    yield
    logging.basicConfig(force=True)


def test_an_event_is_one_json_line_with_its_time_in_utc() -> None:
    stream = io.StringIO()
    configure_logging(style="json", stream=stream)
    structlog.get_logger("test").info("meter_state", meter="incomer", password=SecretStr("hunter2"))
    event = json.loads(stream.getvalue())
    assert event["event"] == "meter_state"
    assert event["meter"] == "incomer"
    assert event["timestamp"].endswith("Z")
    assert "hunter2" not in stream.getvalue()


def test_levels_below_the_asked_one_are_silent() -> None:
    stream = io.StringIO()
    configure_logging(style="json", level="warning", stream=stream)
    structlog.get_logger("test").info("quiet")
    structlog.get_logger("test").warning("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_a_log_that_cannot_be_written_stops_nobody() -> None:
    closed = io.StringIO()
    configure_logging(style="json", stream=closed)
    closed.close()
    structlog.get_logger("test").error("into_the_void")
    went_on = False
    with contextlib.suppress(OSError), Path("/dev/full").open("w", encoding="utf-8") as full_disk:
        configure_logging(style="json", stream=full_disk)
        structlog.get_logger("test").error("disk_full")
        went_on = True  # closing the file fails after this, and only that may
    assert went_on
