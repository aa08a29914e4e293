"""The example plant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from emsd.plant.loader import LoadedPlant, load_plant
from simulator import SimulatedPlant

REPOSITORY = Path(__file__).resolve().parents[2]
ANCHOR = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def example() -> LoadedPlant:
    return load_plant(REPOSITORY / "config" / "plant.example.yaml", environ={})


@pytest.fixture(scope="session")
def simulate(example: LoadedPlant) -> Callable[[int], SimulatedPlant]:
    def build(seed: int) -> SimulatedPlant:
        return SimulatedPlant(example.plant, example.profiles, seed, anchor=ANCHOR)

    return build


@pytest.fixture(scope="session")
def physics(simulate: Callable[[int], SimulatedPlant]) -> SimulatedPlant:
    return simulate(1)


@pytest.fixture(scope="session")
def factory() -> LoadedPlant:
    return load_plant(REPOSITORY / "config" / "factory.yaml", environ={})
