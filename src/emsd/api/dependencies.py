"""What the API is given, and how a request gets at it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Final, TypeAlias

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from emsd.energy.factors import CarbonFactor, FactorTimeline
from emsd.errors import StoreUnavailable
from emsd.ingest.live import LiveValues
from emsd.store.carbon_factors import read_factor_timeline, state_of_hours
from emsd.store.plant_view import PlantView, read_plant_view
from emsd.store.pool import Pool, session
from emsd.store.reads import READ_TIMEOUT_S
from emsd.store.rolling import read_carbon_factors

__all__ = [
    "ApiDependencies",
    "Configuration",
    "ConfigurationCache",
    "CurrentConfiguration",
    "Given",
    "ReadinessProbe",
    "read_configuration",
]

ReadinessProbe: TypeAlias = Callable[[], Awaitable[str | None]]
"""Answers None when ready, else one sentence that says why not."""


_RETRY_S: Final = 1.0


def utc_now() -> datetime:
    """Return the wall clock as an aware datetime."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class ApiDependencies:
    """Everything the API needs from the process that it runs in.

    live        the newest values of this process; None where nothing is collected, then the database is asked
    readiness   probes by name, such as "connection substation" or "accounting"; "database" is there already
    settle_s    how long after a minute its figures may still be incomplete [s]
    plant_age_s how old the plant's configuration may be before it is read again [s]
    sums_age_s  how old the sums of what ended more than half an hour ago may be [s]
    exports_at_once  how many tables may be written at the same time; each holds a session of the pool
    """

    pool: Pool
    site_id: int
    registry: CollectorRegistry
    live: LiveValues | None = None
    readiness: Mapping[str, ReadinessProbe] = field(default_factory=dict)
    settle_s: float = 15.0
    plant_age_s: float = 10.0
    sums_age_s: float = 30.0
    exports_at_once: int = 2
    now: Callable[[], datetime] = utc_now


@dataclass(frozen=True, slots=True)
class Configuration:
    """What changes only when a person changes it: the plant and its carbon factors.

    factors   by period, as published: every method and version that is in force
    location  which location-based factor of the site's region applies when, those of the hour included
    """

    plant: PlantView
    factors: tuple[CarbonFactor, ...]
    location: FactorTimeline


async def read_configuration(pool: Pool, site_id: int) -> Configuration:
    """Read the configuration of a site.

    Raises:
        StoreError: the database does not know the site.
        StoreUnavailable: it cannot be reached now.
    """
    plant = await read_plant_view(pool, site_id)
    factors = await read_carbon_factors(pool, plant.site.carbon_region)
    async with session(pool, "read the carbon factors", timeout_s=READ_TIMEOUT_S) as connection:
        location = await read_factor_timeline(connection, plant.site.carbon_region, "location")
    return Configuration(plant, tuple(factors), location)


class ConfigurationCache:
    """The configuration, read again when it is older than `age_s` [s]; concurrent requests wait for one reading.

    While the database is away the last one known goes on to serve, so that live values need no database; a database
    that hangs holds up one request in a second, not every one in turn.
    """

    def __init__(self, pool: Pool, site_id: int, age_s: float) -> None:
        self._pool = pool
        self._site_id = site_id
        self._age_s = age_s
        self._lock = asyncio.Lock()
        self._known: Configuration | None = None
        self._state: tuple[str, tuple[CarbonFactor, ...], tuple[int, int]] | None = None
        self._read_again_at_s = 0.0
        self._away: StoreUnavailable | None = None

    async def get(self) -> Configuration:
        """Return the configuration.

        Raises:
            StoreError: the database does not know the site.
            StoreUnavailable: no configuration is known yet, and the database cannot be reached now.
        """
        async with self._lock:
            if time.monotonic() >= self._read_again_at_s:
                await self._read()
            if self._known is not None:
                return self._known
            raise StoreUnavailable(str(self._away)) from self._away

    async def _read(self) -> None:
        try:
            plant = await read_plant_view(self._pool, self._site_id)
            factors = tuple(await read_carbon_factors(self._pool, plant.site.carbon_region))
            location = await self._location(plant.site.carbon_region, factors)
        except StoreUnavailable as error:
            self._away, self._read_again_at_s = error, time.monotonic() + _RETRY_S
        else:
            self._known = Configuration(plant, factors, location)
            self._read_again_at_s = time.monotonic() + self._age_s

    async def _location(self, region: str, factors: tuple[CarbonFactor, ...]) -> FactorTimeline:
        """Return the factors laid out in time; years of hours are read again only when they have changed."""
        async with session(self._pool, "read the carbon factors", timeout_s=READ_TIMEOUT_S) as connection:
            state = (region, factors, await state_of_hours(connection, region, "location"))
            if self._known is None or state != self._state:
                location = await read_factor_timeline(connection, region, "location")
                self._state = state
                return location
        return self._known.location


def _given(request: Request) -> ApiDependencies:
    dependencies: ApiDependencies = request.app.state.dependencies
    return dependencies


async def _configuration(request: Request) -> Configuration:
    cache: ConfigurationCache = request.app.state.configuration
    return await cache.get()


Given: TypeAlias = Annotated[ApiDependencies, Depends(_given)]
CurrentConfiguration: TypeAlias = Annotated[Configuration, Depends(_configuration)]
