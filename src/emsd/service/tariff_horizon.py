"""Prices reach ahead of time for as long as the service runs, however long that is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from emsd.errors import StoreUnavailable
from emsd.plant.models import Plant
from emsd.store.pool import Pool
from emsd.store.tariff import extend_tariffs

__all__ = ["keep_tariffs"]

_log = structlog.get_logger(__name__)

_EVERY_S: Final = 900.0
"""A demand that is agreed from midnight on is that of the site within a quarter hour."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


async def keep_tariffs(
    pool: Pool, plant: Callable[[], Plant], *, now: Callable[[], datetime] = _utc_now, every_s: float = _EVERY_S
) -> None:
    """Look every `every_s` [s] whether prices still reach to the end of the year after the next, and lay out the rest.

    `plant` returns the one that the service goes by. Runs until cancelled.

    Raises:
        StoreError: a person must act.
    """
    while True:
        try:
            if await extend_tariffs(pool, plant(), now=now()):
                _log.info("prices_extended", reason="a year has begun")
        except StoreUnavailable as error:
            _log.warning("prices_wait", reason=str(error))
        await asyncio.sleep(every_s)
