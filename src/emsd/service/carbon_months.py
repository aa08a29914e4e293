"""The months of the carbon ledger, computed anew from time to time for Grafana."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from emsd.errors import LedgerRefused, StoreUnavailable
from emsd.store.carbon import refresh_months, year_of
from emsd.store.pool import Pool

__all__ = ["keep_months"]

_log = structlog.get_logger(__name__)

_FIRST_AFTER_S: Final = 60.0
"""The service has more urgent things to do when it starts."""
_EVERY_S: Final = 900.0
_LAST_YEAR_EVERY: Final = 24
"""Late data, certificates and activities of the year before show within six hours."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


async def keep_months(
    pool: Pool,
    site_id: int,
    *,
    now: Callable[[], datetime] = _utc_now,
    first_after_s: float = _FIRST_AFTER_S,
    every_s: float = _EVERY_S,
) -> None:
    """Compute the months of the running local year every `every_s` [s], and now and then those of the year before.

    Runs until cancelled.

    Raises:
        StoreError: a person must act.
    """
    turn, wait_s = 0, first_after_s
    while True:
        await asyncio.sleep(wait_s)
        try:
            year = await year_of(pool, site_id, now())
            for each in (year,) if turn % _LAST_YEAR_EVERY else (year - 1, year):
                await refresh_months(pool, site_id, each, now=now())
        except StoreUnavailable as error:
            _log.warning("carbon_months_wait", reason=str(error))
        except LedgerRefused as error:
            _log.debug("carbon_months_empty", reason=str(error))
        turn, wait_s = turn + 1, every_s
