"""Profiles of the tests' own, so that case folders do not depend on the shipped ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from emsd.plant.profile import Profile
from emsd.plant.profiles import read_profiles


@pytest.fixture(scope="session")
def stock_profiles() -> Mapping[str, Profile]:
    library = read_profiles([Path(__file__).parent / "profiles"], installed=False)
    assert not library.faults
    return library.profiles
