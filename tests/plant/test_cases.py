"""A folder a case: `plant.yaml` with `expected.txt`, the exact faults, or `warnings.txt` when the plant is right.

A case that has a folder `profiles` is loaded with the shipped profiles and its own, every other one with the tests'.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from emsd.errors import PlantError
from emsd.plant.loader import load_plant
from emsd.plant.profile import Profile

CASES = Path(__file__).parent / "cases"
SECRET = "hunter2"
ENVIRON = {"EMSD_TEST_SECRET": SECRET, "EMSD_TEST_EMPTY": ""}


def names(file: str) -> list[str]:
    return sorted(path.parent.name for path in CASES.glob(f"*/{file}"))


def profiles_for(case: Path, stock: Mapping[str, Profile]) -> Mapping[str, Profile] | None:
    return None if (case / "profiles").is_dir() else stock


def relative(text: str, case: Path) -> str:
    return text.replace(f"{case}/", "").replace(str(case), ".")


@pytest.mark.parametrize("name", names("expected.txt"))
def test_all_faults_are_reported_at_once_with_file_and_line(name: str, stock_profiles: Mapping[str, Profile]) -> None:
    case = CASES / name
    with pytest.raises(PlantError) as caught:
        load_plant(case / "plant.yaml", environ=ENVIRON, profiles=profiles_for(case, stock_profiles))
    text = relative(str(caught.value), case)
    assert text == (case / "expected.txt").read_text().rstrip("\n")
    assert SECRET not in text


@pytest.mark.parametrize("name", names("warnings.txt"))
def test_a_plant_that_is_right_loads_with_its_warnings(name: str, stock_profiles: Mapping[str, Profile]) -> None:
    case = CASES / name
    loaded = load_plant(case / "plant.yaml", environ=ENVIRON, profiles=profiles_for(case, stock_profiles))
    text = relative("\n".join(map(str, loaded.warnings)), case)
    assert text == (case / "warnings.txt").read_text().rstrip("\n")


def test_every_case_folder_is_run() -> None:
    assert len(names("expected.txt")) >= 25
    assert sorted(names("expected.txt") + names("warnings.txt")) == sorted(path.name for path in CASES.iterdir())
