"""Which meters speak for an area and the site, where a machine's controller repeats what its meter measures."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from emsd.plant.loader import load_plant
from emsd.readings import instant_us
from simulator import SimulatedPlant
from simulator.scopes import meters_of_areas, meters_of_asset, meters_of_site
from simulator.truth_api import area_energy

START = datetime(2026, 6, 1, tzinfo=UTC)
PLANT = """\
version: 1
site: {name: Hall, time_zone: Europe/Berlin, carbon_region: DE}
areas: [{key: works, name: Works}, {key: air, name: Compressed air, parent: works}]
assets: [{key: screw, name: Screw, kind: compressor, area: air, rated_power_kw: 90}]
connections: [{key: board, host: 127.0.0.1, port: 1502}]
meters:
  - {key: feeder, name: Feeder, asset: screw, profile: abb_b23, connection: board, unit_id: 1}
  - {key: controller, name: Controller, asset: screw, profile: mm_rwb, connection: board, unit_id: 2}
"""


@pytest.fixture
def physics(tmp_path: Path) -> SimulatedPlant:
    path = tmp_path / "plant.yaml"
    path.write_text(PLANT)
    loaded = load_plant(path, environ={})
    return SimulatedPlant(loaded.plant, loaded.profiles, 1, anchor=START)


def test_a_controller_beside_a_meter_of_its_machine_is_not_counted_again(physics: SimulatedPlant) -> None:
    from_us = instant_us(START)
    energy = {key: physics.true_energy_kwh(key, from_us, from_us + 3_600_000_000) for key in ("feeder", "controller")}
    assert energy["controller"] == pytest.approx(energy["feeder"])
    assert energy["feeder"].import_kwh > 10
    told = area_energy(physics, energy)
    assert [told[area].import_kwh for area in ("works", "air")] == [energy["feeder"].import_kwh] * 2
    assert (
        meters_of_site(physics) == meters_of_areas(physics)["air"] == meters_of_asset(physics, "screw") == ("feeder",)
    )
