"""What devices show that is not what flowed: read by pymodbus, compared with the truth that no fault changes."""

from __future__ import annotations

import math
import struct

import pytest

from emsd.errors import ConfigurationError
from emsd.plant.loader import LoadedPlant
from simulator import DeviceFault, FaultRecord, PersonalityEntry, Schedule, Simulator, fleet, fleet_profile
from simulator.counter_faults import modulus_of
from simulator.fault_kinds import KINDS, Knowable, Layer
from simulator.identities import serial_number
from tests.simulator.wire import NOON_US, Clock, served, stranger

HOUR_US = 3_600_000_000
METER = "incomer"


async def words(simulator: Simulator, address: int, count: int, unit: int = 1, connection: str = "substation") -> bytes:
    async with stranger(simulator, connection, 5) as client:
        answer = await client.read_holding_registers(address, count=count, device_id=unit)
    assert not answer.isError(), answer
    return struct.pack(f">{count}H", *answer.registers)


async def import_kwh(simulator: Simulator) -> float:
    """The import counter of a PM5560: 64 bits, Wh."""
    return float(struct.unpack(">q", await words(simulator, 3203, 4))[0] / 1000)


async def power_kw(simulator: Simulator) -> float:
    return float(struct.unpack(">f", await words(simulator, 3059, 2))[0])


def true_kwh(simulator: Simulator, from_us: int, to_us: int) -> float:
    return simulator.truth.true_energy_kwh(METER, from_us, to_us).import_kwh


def only(simulator: Simulator) -> FaultRecord:
    (record,) = simulator.faults.list()
    return record


def change_of(record: FaultRecord, quantity: str, at: int = 0) -> tuple[int, float | None, float | None]:
    own = [each for each in record.changes if each.quantity == quantity]
    return own[at].time_us, own[at].before, own[at].after


async def test_counter_reset_begins_again_and_the_record_keeps_the_final_reading(example: LoadedPlant) -> None:
    clock = Clock()
    async with served(example, "substation", now_us=clock) as simulator:
        before = await import_kwh(simulator)
        step_us = NOON_US + HOUR_US
        simulator.faults.add(DeviceFault("counter_reset", step_us, meter=METER))
        assert only(simulator).changes == ()
        clock.now_us = step_us + HOUR_US
        assert await import_kwh(simulator) == pytest.approx(true_kwh(simulator, step_us, clock.now_us), abs=0.001)
        record = only(simulator)
        time_us, final, fresh = change_of(record, "energy_import_kwh")
        assert (time_us, fresh) == (step_us, 0.0)
        assert final == pytest.approx(before + true_kwh(simulator, NOON_US, step_us), abs=0.002)
        assert record.energy[METER].import_kwh == pytest.approx(true_kwh(simulator, step_us, clock.now_us))
        assert record.knowable == {METER: Knowable.UP_TO_STEP}
        with pytest.raises(ConfigurationError, match="cannot be undone"):
            simulator.faults.remove(record.number)


async def test_counter_rollover_passes_the_modulus_and_says_when(example: LoadedPlant) -> None:
    clock = Clock()
    async with served(example, "substation", now_us=clock) as simulator:
        parameters: dict[str, float | str] = {"quantity": "energy_import_kwh", "modulus": 1e6, "left": 5.0}
        simulator.faults.add(DeviceFault("counter_rollover", NOON_US, meter=METER, parameters=parameters))
        assert await import_kwh(simulator) == pytest.approx(1e6 - 5.0, abs=0.002)
        clock.now_us += HOUR_US
        flowed = true_kwh(simulator, NOON_US, clock.now_us)
        assert flowed > 5
        assert await import_kwh(simulator) == pytest.approx(flowed - 5.0, abs=0.002)
        rolled_us, full, empty = change_of(only(simulator), "energy_import_kwh", at=1)
        assert (full, empty) == (1e6, 0.0)
        assert true_kwh(simulator, NOON_US, rolled_us) == pytest.approx(5.0, abs=1e-3)


def test_the_modulus_is_that_of_the_register_or_nobodys(example: LoadedPlant) -> None:
    truth = Simulator(example.plant, example.profiles, free_ports=True).truth
    assert modulus_of(truth, "chiller-2-feeder", "energy_import_kwh") == pytest.approx(2**31 * 0.1)
    assert modulus_of(truth, METER, "energy_import_kwh") is None
    simulator = Simulator(example.plant, example.profiles, free_ports=True)
    with pytest.raises(ConfigurationError, match="give one as parameter modulus"):
        simulator.faults.add(DeviceFault("counter_rollover", NOON_US, meter=METER))
    assert simulator.faults.list() == ()


async def test_device_swap_brings_another_serial_number_and_start_value(example: LoadedPlant) -> None:
    clock = Clock()
    async with served(example, "substation", now_us=clock) as simulator:
        own = serial_number(1, METER)

        async def serial() -> int:
            return int(struct.unpack(">I", await words(simulator, 129, 2))[0])

        assert await serial() == own
        simulator.faults.add(DeviceFault("device_swap", NOON_US, meter=METER, parameters={"value": 12.5}))
        fresh = await serial()
        assert await import_kwh(simulator) == 12.5
        assert only(simulator).serials == {METER: (own, fresh)}
        assert fresh != own
        clock.now_us += HOUR_US
        assert await import_kwh(simulator) == pytest.approx(
            12.5 + true_kwh(simulator, NOON_US, clock.now_us), abs=0.002
        )
        given = DeviceFault("device_swap", clock.now_us, meter=METER, parameters={"serial": 424242})
        simulator.faults.add(given)
        assert await serial() == 424242


@pytest.mark.parametrize(("kind", "sign"), [("counter_dip", -1), ("counter_glitch", 1)])
async def test_counter_dip_and_counter_glitch_pass_and_leave_the_counter_as_it_was(
    example: LoadedPlant, kind: str, sign: int
) -> None:
    clock = Clock()
    async with served(example, "substation", now_us=clock) as simulator:
        honest = await import_kwh(simulator)
        fault = DeviceFault(kind, NOON_US, NOON_US + 1_000_000, meter=METER, parameters={"by": 7.0})
        simulator.faults.add(fault)
        assert await import_kwh(simulator) == pytest.approx(honest + sign * 7.0, abs=0.001)
        clock.now_us += 1_000_000
        flowed = true_kwh(simulator, NOON_US, clock.now_us)
        assert await import_kwh(simulator) == pytest.approx(honest + flowed, abs=0.002)
        record = only(simulator)
        assert record.state == "over"
        begin, end = (change_of(record, "energy_import_kwh", at) for at in (0, 1))
        assert begin[2] == pytest.approx((begin[1] or 0) + sign * 7.0)
        assert end[0] == clock.now_us
        assert end[2] == pytest.approx((end[1] or 0) - sign * 7.0, abs=0.001)


@pytest.mark.parametrize("what", ["all", "counters", "gauges"])
async def test_freeze_stands_still_and_the_counter_catches_up(example: LoadedPlant, what: str) -> None:
    clock = Clock()
    async with served(example, "substation", now_us=clock) as simulator:
        first = (await import_kwh(simulator), await power_kw(simulator))
        number = simulator.faults.add(DeviceFault("freeze", NOON_US, meter=METER, parameters={"what": what}))
        clock.now_us += HOUR_US
        later = (await import_kwh(simulator), await power_kw(simulator))
        assert (later[0] == first[0], later[1] == first[1]) == (what != "gauges", what != "counters")
        simulator.faults.remove(number)
        flowed = true_kwh(simulator, NOON_US, clock.now_us)
        assert await import_kwh(simulator) == pytest.approx(first[0] + flowed, abs=0.002)
        if what != "gauges":
            _, frozen, freed = change_of(only(simulator), "energy_import_kwh")
            assert (freed or 0) - (frozen or 0) == pytest.approx(flowed, abs=0.001)


async def test_a_reset_while_frozen_shows_once_it_thaws(example: LoadedPlant) -> None:
    clock = Clock()
    async with served(example, "substation", now_us=clock) as simulator:
        first = await import_kwh(simulator)
        thaw_us = NOON_US + HOUR_US
        simulator.faults.add(DeviceFault("freeze", NOON_US, thaw_us, meter=METER))
        simulator.faults.add(DeviceFault("counter_reset", NOON_US + 1_000_000, meter=METER))
        clock.now_us = thaw_us - 1_000_000
        assert await import_kwh(simulator) == first
        clock.now_us = thaw_us
        assert await import_kwh(simulator) == pytest.approx(
            true_kwh(simulator, NOON_US + 1_000_000, thaw_us), abs=0.002
        )


async def test_out_of_range_shows_what_no_plant_can_produce_and_counters_go_on(example: LoadedPlant) -> None:
    clock = Clock()
    async with served(example, "substation", now_us=clock) as simulator:
        before = await import_kwh(simulator)
        simulator.faults.add(DeviceFault("out_of_range", NOON_US, meter=METER))
        assert await power_kw(simulator) == 1e7
        clock.now_us += HOUR_US
        assert await import_kwh(simulator) == pytest.approx(
            before + true_kwh(simulator, NOON_US, clock.now_us), abs=0.002
        )
        assert change_of(only(simulator), "active_power_kw")[2] == 1e7


async def test_sentinel_is_the_vendors_own_word_and_its_neighbours_are_kept(example: LoadedPlant) -> None:
    async with served(example, "compressed-air") as simulator:
        simulator.faults.add(DeviceFault("sentinel", NOON_US, meter="compressor-2-feeder"))
        block = await words(simulator, 23296, 45, 2, "compressed-air")
    assert block[40:44] == b"\xff\xff\xff\xff"  # as its profile lists it for i32
    assert struct.unpack(">H", block[88:90])[0] == pytest.approx(5000, abs=10)
    record = only(simulator)
    assert change_of(record, "active_power_kw")[2] is None
    assert (change_of(record, "active_power_kw")[1] or math.nan) > 0


async def test_words_swapped_turns_every_number_of_several_registers_round(example: LoadedPlant) -> None:
    async with served(example, "substation") as simulator:
        honest = await words(simulator, 3203, 4)
        simulator.faults.add(DeviceFault("words_swapped", NOON_US, meter=METER))
        turned = await words(simulator, 3203, 4)
    assert turned == honest[6:] + honest[4:6] + honest[2:4] + honest[:2]
    assert turned != honest


async def test_the_truth_is_the_same_with_and_without_faults(example: LoadedPlant) -> None:
    clock = Clock()
    async with served(example, "substation", now_us=clock) as simulator:
        before = true_kwh(simulator, NOON_US, NOON_US + HOUR_US)
        for kind in ("counter_reset", "device_swap", "counter_dip", "freeze", "out_of_range"):
            simulator.faults.add(DeviceFault(kind, NOON_US, connection="substation"))
        assert true_kwh(simulator, NOON_US, NOON_US + HOUR_US) == before
        assert {each.meters for each in simulator.faults.list()} == {("cleanroom-feeder", METER, "tools-feeder")}


async def test_a_personality_renews_on_its_own_beat_and_counts_coarsely(example: LoadedPlant) -> None:
    clock = Clock()
    entries = (
        PersonalityEntry(meter=METER, refresh_s=60.0),
        PersonalityEntry(connection="substation", counter_resolution=10.0),
    )
    async with served(example, "substation", now_us=clock, schedule=Schedule(personalities=entries)) as simulator:
        seen = set()
        for _ in range(12):
            clock.now_us += 10_000_000
            seen.add(await power_kw(simulator))
        assert 2 <= len(seen) <= 3
        assert await import_kwh(simulator) % 10 == 0


async def test_a_personality_has_its_own_serial_number_and_wraps_its_counters_around(example: LoadedPlant) -> None:
    clock = Clock()
    own = PersonalityEntry(meter=METER, serial=4711, rollover_at=100.0)
    async with served(example, "substation", now_us=clock, schedule=Schedule(personalities=(own,))) as simulator:
        assert struct.unpack(">I", await words(simulator, 129, 2))[0] == 4711
        for _ in range(3):
            clock.now_us += HOUR_US
            true = simulator.truth.quantities(METER, clock.now_us)["energy_import_kwh"]
            assert await import_kwh(simulator) == pytest.approx(true % 100.0, abs=0.002)


@pytest.mark.parametrize(
    ("kind", "parameters", "meter", "knowable"),
    [
        ("no_reply", {}, METER, {METER: Knowable.TOTAL}),
        ("sentinel", {}, "compressor-2-feeder", {"compressor-2-feeder": Knowable.COUNTER}),
        ("out_of_range", {"quantity": "energy_import_kwh"}, METER, {METER: Knowable.TOTAL}),
        ("freeze", {"what": "gauges"}, METER, {METER: Knowable.ALL}),
        ("no_reply", {}, "weather-pyranometer", {}),
    ],
)
def test_a_record_says_what_can_be_known_of_each_meter_that_measures_energy(
    example: LoadedPlant, kind: str, parameters: dict[str, float | str], meter: str, knowable: dict[str, Knowable]
) -> None:
    simulator = Simulator(example.plant, example.profiles, free_ports=True, now_us=lambda: NOON_US)
    simulator.faults.add(DeviceFault(kind, NOON_US, meter=meter, parameters=parameters))
    assert only(simulator).knowable == knowable


def test_of_a_meter_without_a_counter_nothing_can_be_known_of_what_was_missed() -> None:
    made = fleet_profile()
    assert made.modbus is not None
    gauges = tuple(each for each in made.modbus.points if not each.quantity.startswith("energy_"))
    bare = made.model_copy(update={"modbus": made.modbus.model_copy(update={"points": gauges})})
    plant, profiles = fleet(1, 1, profile=bare)
    simulator = Simulator(plant, profiles, free_ports=True, now_us=lambda: NOON_US)
    simulator.faults.add(DeviceFault("no_reply", NOON_US, connection="gateway-0"))
    simulator.faults.add(DeviceFault("busy", NOON_US, connection="gateway-0"))
    lost, busy = simulator.faults.list()
    assert set(lost.knowable.values()) == {Knowable.NOTHING}
    assert set(busy.knowable.values()) == {Knowable.ALL}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"kind": "late_replay"}, "did you mean late_reply"),
        ({"kind": "late_reply", "parameters": {"delay": 1}}, "it knows delay_s, share"),
        ({"kind": "late_reply", "parameters": {"share": 1.5}}, "is not a number from 0 to 1"),
        ({"kind": "busy", "parameters": {"times": 1.5}}, "is not a whole number"),
        ({"kind": "cut_frame", "parameters": {"then": "explode"}}, "is not one of stay, close, reset"),
        ({"kind": "counter_dip", "parameters": {"quantity": "active_power_kw"}}, "is a gauge"),
        ({"kind": "sentinel", "parameters": {"quantity": "activ_power_kw"}}, "did you mean active_power_kw"),
        ({"kind": "counter_reset", "until_us": NOON_US + 1}, "cannot end"),
        ({"kind": "partition"}, "give the connection"),
        ({"kind": "no_reply", "connection": "substation"}, "either a meter or a connection"),
        ({"kind": "no_reply", "until_us": NOON_US}, "ends before it begins"),
        ({"kind": "no_reply", "meter": "nobody"}, "no meter nobody"),
        ({"kind": "silent"}, "is of MQTT messages"),
        ({"kind": "clock_skew"}, "registers carry no time"),
        ({"kind": "no_reply", "meter": "cleanroom-exhaust"}, "cannot happen to connection broker"),
        ({"kind": "out_of_range", "meter": "pv-1-inverter", "parameters": {"quantity": "run_state"}}, "is a code"),
        ({"kind": "out_of_range", "parameters": {"quantity": "dew_point_c"}}, "has no dew_point_c"),
    ],
)
def test_what_cannot_be_is_refused_with_the_cure(example: LoadedPlant, fault: dict[str, object], said: str) -> None:
    simulator = Simulator(example.plant, example.profiles, free_ports=True, now_us=lambda: NOON_US)
    with pytest.raises(ConfigurationError, match=said):
        simulator.faults.add(DeviceFault(**{"meter": METER, "from_us": NOON_US, **fault}))  # type: ignore[arg-type]
    assert simulator.faults.list() == ()


def test_every_fault_of_a_value_has_its_test() -> None:
    values = {name for name, kind in KINDS.items() if kind.layer is Layer.VALUE}
    shown = {name for name in values for test in globals() if test.startswith("test_") and name in test}
    assert values - shown == {"clock_skew"}  # test_message_faults: only messages carry a time
