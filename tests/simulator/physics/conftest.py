"""Days of the example plant and of the factory, with and without scenarios."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from emsd.plant.loader import LoadedPlant, load_plant
from simulator import SimulatedPlant
from simulator.noise import FloatArray, stream
from simulator.physics.day import Day, day_of
from simulator.physics.scenarios import Scenario, Scenarios
from simulator.physics.weather import Sky

REPOSITORY = Path(__file__).resolve().parents[3]
ANCHOR = datetime(2026, 6, 1, tzinfo=UTC)
JUNE = int(ANCHOR.timestamp()) // 86_400
DAY_US = 86_400_000_000

DayOf = Callable[..., Day]
Run = Callable[..., SimulatedPlant]


@pytest.fixture(scope="session")
def day() -> DayOf:
    """Return the conditions of a day at the default site."""

    def of(number: int = JUNE, scenarios: tuple[Scenario, ...] = ()) -> Day:
        return day_of(number, Sky(1), ZoneInfo("Asia/Shanghai"), stream(1, "activity"), Scenarios.of(scenarios))

    return of


@cache
def _loaded(name: str) -> LoadedPlant:
    return load_plant(REPOSITORY / "config" / name, environ={})


@pytest.fixture(scope="session")
def run() -> Run:
    """Return a plant of config/ under scenarios; the same one each time that it is asked for."""

    @cache
    def of(name: str = "plant.example.yaml", scenarios: tuple[Scenario, ...] = ()) -> SimulatedPlant:
        loaded = _loaded(name)
        return SimulatedPlant(loaded.plant, loaded.profiles, 1, anchor=ANCHOR, scenarios=scenarios)

    return of


Row = Callable[[SimulatedPlant, str, int], FloatArray]


@pytest.fixture(scope="session")
def row() -> Row:
    """Return a row of a plant on the knots of a day, first and last midnight included."""

    def of(plant: SimulatedPlant, name: str, number: int = JUNE) -> FloatArray:
        times = number * DAY_US + np.arange(8641, dtype=np.int64) * 10_000_000
        times[-1] -= 1  # still the same day's last straight line
        return plant.tables.values(np.array([plant.topology.rows[name]]), times)

    return of
