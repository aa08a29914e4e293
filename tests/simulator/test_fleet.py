from __future__ import annotations

from datetime import UTC, datetime

import pytest

from emsd.plant.models import Plant
from emsd.readings import instant_us
from simulator import SimulatedPlant, fleet

ANCHOR = datetime(2026, 6, 1, tzinfo=UTC)
NOON_US = instant_us(datetime(2026, 6, 1, 12, tzinfo=UTC))


def test_a_fleet_is_a_valid_plant_of_meters_with_14_quantities() -> None:
    plant, profiles = fleet(1000, 8)
    assert Plant.model_validate(plant.model_dump()) == plant
    assert len(plant.meters) == 1000
    assert all(len(profiles[meter.profile].quantities) == 14 for meter in plant.meters)
    assert len({(meter.connection, meter.unit_id) for meter in plant.meters}) == 1000


def test_many_meters_share_a_few_shapes_so_that_a_day_stays_small() -> None:
    plant, profiles = fleet(3000, 16)
    physics = SimulatedPlant(plant, profiles, 1, anchor=ANCHOR)
    assert len(physics.topology.rows) < 50
    powers = {physics.power_kw(meter.key, NOON_US) for meter in plant.meters}
    assert len(powers) > 1


def test_each_meter_of_a_fleet_knows_its_true_energy() -> None:
    plant, profiles = fleet(300, 2)
    physics = SimulatedPlant(plant, profiles, 1, anchor=ANCHOR)
    for key in ("meter-0", "meter-299"):
        before, after = (physics.quantities(key, t)["energy_import_kwh"] for t in (NOON_US, NOON_US + 60_000_000))
        true = physics.true_energy_kwh(key, NOON_US, NOON_US + 60_000_000)
        assert true.import_kwh > 0.1
        assert after - before == pytest.approx(true.import_kwh, abs=1e-9)


@pytest.mark.parametrize(("meters", "endpoints"), [(0, 1), (248, 1), (2, 3)])
def test_a_fleet_that_does_not_fit_is_refused(meters: int, endpoints: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        fleet(meters, endpoints)
