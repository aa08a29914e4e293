"""Faults by the clock and by chance: what a file says becomes the same faults every time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from emsd.errors import ConfigurationError, PlantError
from emsd.plant.loader import LoadedPlant
from simulator import FaultEntry, RandomFaults, Schedule, SimulatedPlant, Simulator, read_schedule
from simulator.fault_kinds import KINDS
from simulator.fault_schedule import planned
from tests.simulator.wire import NOON_US

FILE = """\
personalities:
  - {connection: compressed-air, latency_s: 0.04, jitter_s: 0.02, max_clients: 1}
  - {profile: abb_b23, like_its_profile: true}
faults:
  - {kind: late_reply, meter: incomer, after_s: 30, for_s: 60, parameters: {delay_s: 2}}
  - {kind: no_reply, connection: substation, unit_id: 2, from: 2026-06-03T06:00:00Z, until: 2026-06-03T07:00:00Z}
  - {kind: counter_reset, meter: incomer, parameters: {quantity: energy_import_kwh}}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "faults.yaml"
    path.write_text(text)
    return path


def test_a_file_says_who_when_and_how(tmp_path: Path, physics: SimulatedPlant) -> None:
    late, dead, reset = planned(read_schedule(written(tmp_path, FILE)), physics, NOON_US)
    assert (late.meter, late.from_us - NOON_US, late.until_us) == ("incomer", 30_000_000, NOON_US + 90_000_000)
    assert late.number("delay_s") == 2.0
    assert (dead.meter, dead.connection, dead.from_us - NOON_US) == ("cleanroom-feeder", None, 3_600_000_000)
    assert dead.until_us == NOON_US + 7_200_000_000
    assert (reset.from_us, reset.until_us) == (NOON_US, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("faults:\n  - {kind: no_reply, meters: incomer}\n", "faults.yaml:2: faults"),
        ("faults:\n  - kind: no_reply\n    after_s: -1\n", "faults.yaml:3: faults"),
        ("faults:\n  - {kind: no_reply, after_s: 1, from: 2026-06-03T06:00:00Z}\n", "give one of them"),
        ("random: {kinds: [no_replay]}\n", "there is no fault no_replay"),
        ("faults: [\n", "is not valid YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PlantError, match=said):
        read_schedule(written(tmp_path, text))


def test_an_empty_file_is_a_plant_without_faults(tmp_path: Path) -> None:
    assert read_schedule(written(tmp_path, "")) == Schedule()


async def test_a_fault_of_nobody_stops_the_start_before_anything_listens(example: LoadedPlant) -> None:
    for entry in (
        FaultEntry(kind="no_reply", meter="nobody"),
        FaultEntry(kind="no_reply", connection="weather", unit_id=9),
    ):
        simulator = Simulator(example.plant, example.profiles, free_ports=True, schedule=Schedule(faults=(entry,)))
        with pytest.raises(ConfigurationError, match=r"nobody|no unit 9"):
            await simulator.__aenter__()
        assert simulator.ports == {}


def test_chance_draws_the_same_faults_under_one_seed_and_others_under_another(
    simulate: Callable[[int], SimulatedPlant],
) -> None:
    settings = RandomFaults(seed=3, per_hour=60, hours=10, shortest_s=5, longest_s=50)
    drawn = list(settings.faults(simulate(1), NOON_US))
    assert drawn == list(settings.faults(simulate(1), NOON_US))
    assert drawn != list(settings.model_copy(update={"seed": 4}).faults(simulate(1), NOON_US))
    assert 450 <= len(drawn) <= 750
    assert [each.from_us for each in drawn] == sorted(each.from_us for each in drawn)
    lasted = [each.until_us - each.from_us for each in drawn if each.until_us is not None]
    assert 5e6 <= min(lasted) <= max(lasted) <= 50e6
    assert {each.kind for each in drawn} >= set(KINDS) - {"counter_rollover", "bad_checksum"}  # of serial lines


async def test_every_fault_that_chance_draws_can_be(example: LoadedPlant) -> None:
    random = RandomFaults(seed=5, per_hour=100, hours=2)
    simulator = Simulator(example.plant, example.profiles, now_us=lambda: NOON_US)
    simulator.faults.add_all(planned(Schedule(random=random), simulator.truth, NOON_US))
    assert len(simulator.faults.list()) > 150


def test_brokers_fail_by_chance_where_the_simulator_stands_in_front_of_them(physics: SimulatedPlant) -> None:
    random = RandomFaults(seed=2, per_hour=60, hours=4, kinds=("connection_refused", "network_delay"))
    brokers = {each.connection for each in planned(Schedule(random=random), physics, NOON_US, ["broker"])}
    assert "broker" in brokers
    assert "broker" not in {each.connection for each in planned(Schedule(random=random), physics, NOON_US)}


def test_kinds_that_the_plant_cannot_have_are_refused(example: LoadedPlant) -> None:
    polled = tuple(each for each in example.plant.meters if each.topic is None)
    plant = example.plant.model_copy(update={"meters": polled})
    truth = Simulator(plant, example.profiles, free_ports=True).truth
    with pytest.raises(ConfigurationError, match="can have no fault of the kinds silent"):
        list(RandomFaults(kinds=("silent",)).faults(truth, NOON_US))


def test_a_personality_of_nobody_is_refused(example: LoadedPlant, tmp_path: Path) -> None:
    schedule = read_schedule(written(tmp_path, "personalities: [{meter: nobody, latency_s: 1}]\n"))
    with pytest.raises(ConfigurationError, match="no meter of it"):
        Simulator(example.plant, example.profiles, schedule=schedule)
