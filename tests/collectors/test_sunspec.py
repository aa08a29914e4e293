"""Walking a SunSpec device's chain of models."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping

import pytest
from sunspec2.device import Model
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from collectors.modbus import open_collector
from collectors.modbus.reads import Reads
from collectors.modbus.sunspec import walk_models
from collectors.modbus.sunspec_models import definition, resolve
from emsd.collector import BoundMeter
from emsd.errors import CollectError, DeviceException, NoReply
from emsd.plant.models import Plant
from emsd.plant.profile import Profile
from emsd.plant.sunspec_map import SunspecPoint
from emsd.readings import Quality, Reading
from simulator import Simulator
from tests.collectors.support import MemorySink, profile

BASES = (40000, 50000, 0)
WITHIN_S = 60.0


def one_meter_plant(profile_name: str) -> Plant:
    return Plant.model_validate(
        {
            "site": {"name": "Roof", "time_zone": "Asia/Shanghai", "carbon_region": "CN"},
            "areas": [{"key": "roof", "name": "Roof"}],
            "assets": [
                {"key": "pv", "name": "PV", "kind": "pv_inverter", "area": "roof", "rated_power_kw": 100.0},
            ],
            "connections": [{"key": "device", "host": "127.0.0.1", "port": 1502}],
            "meters": [
                {"key": "m", "name": "M", "asset": "pv", "profile": profile_name, "connection": "device", "unit_id": 1}
            ],
        }
    )


async def one_reading(simulator: Simulator, plant: Plant, profiles: Mapping[str, Profile]) -> Reading:
    """Poll the simulated device with the real collector until a reading is there."""
    (connection,), (meter,) = simulator.served_plant.connections, plant.meters
    sink = MemorySink()
    collector = open_collector(connection, [BoundMeter(1, meter, profiles[meter.profile])], sink)
    task = asyncio.create_task(collector.run())
    try:
        async with asyncio.timeout(WITHIN_S):
            while not sink.offered:  # noqa: ASYNC110 - the sink has no event
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return sink.offered[0]


class Registers:
    """A device's holding registers; what it does not have it refuses with exception 2."""

    def __init__(self, base: int, chain: list[tuple[int, int]], *, end_marker: bool = True) -> None:
        self.words: dict[int, int] = {base: 0x5375, base + 1: 0x6E53}
        self.reads = 0
        at = base + 2
        for number, length in chain:
            self.words |= {at: number, at + 1: length} | dict.fromkeys(range(at + 2, at + 2 + length), 0)
            at += 2 + length
        if end_marker:
            self.words |= {at: 0xFFFF, at + 1: 0}

    async def read(self, address: int, count: int) -> bytes:
        self.reads += 1
        try:
            return struct.pack(f">{count}H", *(self.words[address + at] for at in range(count)))
        except KeyError:
            raise DeviceException(f"no register at {address}", 2) from None


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("length", [65, 66])
async def test_models_are_found_at_any_base_and_with_either_length_of_model_1(base: int, length: int) -> None:
    device = Registers(base, [(1, length), (103, 50), (120, 26), (160, 48)])
    first = base + 2 + 2 + length
    assert await walk_models(device.read, BASES) == {
        1: base + 2,
        103: first,
        120: first + 52,
        160: first + 80,
    }


async def test_models_may_stand_in_any_order() -> None:
    device = Registers(40000, [(1, 66), (160, 28), (64001, 10), (103, 50)])
    models = await walk_models(device.read, BASES)
    assert (models[160], models[103]) == (40070, 40112)


async def test_of_two_models_of_one_number_the_first_counts() -> None:
    device = Registers(40000, [(1, 66), (103, 50), (103, 50)])
    assert (await walk_models(device.read, BASES))[103] == 40070


async def test_a_chain_without_an_end_marker_ends_where_the_device_refuses() -> None:
    device = Registers(40000, [(1, 66), (103, 50)], end_marker=False)
    assert sorted(await walk_models(device.read, BASES)) == [1, 103]


async def test_an_endless_chain_is_not_followed_for_ever() -> None:
    device = Registers(0, [(number, 1) for number in range(1, 2000)])
    await walk_models(device.read, (0,))
    assert device.reads <= 70


async def test_a_model_of_length_0_ends_the_chain() -> None:
    device = Registers(40000, [(1, 66), (0, 0)])
    assert sorted(await walk_models(device.read, BASES)) == [1]


async def test_a_device_without_the_marker_says_what_to_do() -> None:
    device = Registers(10, [])
    with pytest.raises(CollectError, match="no SunSpec marker at 40000, 50000, 0; enable SunSpec"):
        await walk_models(device.read, BASES)


async def test_silence_is_not_taken_for_the_lack_of_a_marker() -> None:
    async def silent(address: int, count: int) -> bytes:
        raise NoReply(f"{address} {count}")

    with pytest.raises(NoReply):
        await walk_models(silent, BASES)


def reads(name: str) -> Reads:
    registers = profile(name).modbus
    assert registers is not None
    return Reads(registers, 1.0, None)


def test_points_of_models_that_a_device_does_not_have_are_named() -> None:
    plan = reads("sunspec_inverter")
    assert plan.place({1: 40002, 101: 40070})
    assert {"current_l2_a", "voltage_l2_n_v", "voltage_l1_l2_v"} <= set(plan.unsupported)
    assert {"active_power_kw", "energy_export_kwh", "dc_voltage_v"}.isdisjoint(plan.unsupported)


def addresses(plan: Reads) -> dict[str, tuple[int, int | None]]:
    return {
        target.point.quantity: (target.address, target.scale_address)
        for request in plan.requests(plan.rates_s)
        for target in request.block.targets
    }


def test_points_stand_where_their_model_begins() -> None:
    plan = reads("sunspec_inverter")
    assert plan.place({1: 40002, 160: 40070, 103: 40300})
    found = addresses(plan)
    # Model 103: W at 14, W_SF at 15; model 160: DCV of the first module at 20, DCV_SF at 3.
    assert found["active_power_kw"] == (40314, 40315)
    assert found["dc_voltage_v"] == (40090, 40073)


def test_a_newer_model_goes_before_an_older_one() -> None:
    plan = reads("sunspec_inverter")
    assert plan.place({1: 40002, 103: 40070, 701: 40200})
    assert addresses(plan)["active_power_kw"][0] == 40210


def test_the_common_model_says_who_the_device_is() -> None:
    plan = reads("sunspec_meter")
    assert plan.place({1: 40002, 203: 40070})
    assert {each.what: (each.address, each.registers) for each in plan.identity} == {
        "model": (40020, 16),
        "firmware": (40044, 8),
        "serial": (40052, 16),
    }


@pytest.mark.parametrize(
    "number", [1, 101, 102, 103, 111, 112, 113, 120, 122, 160, 201, 202, 203, 204, 211, 213, 302, 303, 307, 701, 714]
)
def test_definitions_agree_with_pysunspec2s_own_layout(number: int) -> None:
    groups = {160: "module", 302: "repeating", 303: "temp", 714: "Prt"}
    name = groups.get(number)
    theirs = Model(number, data={"NPrt": 2, name: [{}, {}]} if number == 714 else {name: [{}, {}]} if name else {})
    ours = definition(number, theirs.len - 2)
    assert ours is not None
    for key, point in theirs.points.items():
        mine = ours.points[key]
        assert (mine.offset, mine.registers, mine.type) == (point.offset, point.len, point.pdef["type"]), key
        if isinstance(factor := point.pdef.get("sf"), str):
            assert mine.scale_offset == theirs.points[factor].offset, key
    for instance, group in enumerate(theirs.groups.get(name, []) if name else []):
        for key, point in group.points.items():
            assert ours.points[f"{name}[{instance}].{key}"].offset == point.offset, key


def test_a_point_that_no_definition_has_is_named() -> None:
    wanted = SunspecPoint(quantity="active_power_kw", names={103: "Watts"})
    with pytest.raises(ValueError, match=r"active_power_kw: SunSpec model 103 .* has no number Watts"):
        resolve([wanted], {103: 40070})


def test_a_point_of_another_unit_is_refused() -> None:
    wanted = SunspecPoint(quantity="active_power_kw", names={103: "WH"})
    with pytest.raises(ValueError, match="active_power_kw is in kW, but SunSpec point WH in Wh"):
        resolve([wanted], {103: 40070})


CHAINS = [(101,), (102,), (103, 160), (160, 103), (111,), (112,), (113, 160), (701,), (701, 103), (122, 113)]


@pytest.mark.parametrize("chain", CHAINS, ids=str)
async def test_an_inverter_is_read_whatever_models_it_has_and_in_any_order(chain: tuple[int, ...]) -> None:
    plant = one_meter_plant("sunspec_inverter")
    shipped = {"sunspec_inverter": profile("sunspec_inverter")}
    async with Simulator(
        plant, shipped, free_ports=True, sunspec_models={"sunspec_inverter": chain}, refresh_s=0.0
    ) as simulator:
        device = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=simulator.ports["device"])
        await asyncio.to_thread(device.scan)
        first = next(number for number in (701, 103, 102, 101, 113, 112, 111) if number in chain)
        theirs = device.models[first][0]
        mine = await one_reading(simulator, plant, shipped)
        await asyncio.to_thread(theirs.read)
        device.close()
    assert mine.value("voltage_l1_n_v") == pytest.approx(
        theirs.points["VL1" if first == 701 else "PhVphA"].cvalue, rel=0.02
    )
    assert mine.value("frequency_hz") == pytest.approx(theirs.points["Hz"].cvalue, abs=0.2)
    assert mine.value("energy_export_kwh") == pytest.approx(
        theirs.points["TotWhInj" if first == 701 else "WH"].cvalue / 1000.0, rel=1e-6, abs=2.0
    )


async def test_what_a_devices_models_lack_is_absent_and_no_flaw_of_its_readings() -> None:
    plant = one_meter_plant("sunspec_inverter")
    shipped = {"sunspec_inverter": profile("sunspec_inverter")}
    async with Simulator(plant, shipped, free_ports=True, sunspec_models={"sunspec_inverter": (101,)}) as simulator:
        mine = await one_reading(simulator, plant, shipped)
    assert {"current_l2_a", "voltage_l3_n_v", "voltage_l1_l2_v"}.isdisjoint(mine.columns)
    assert mine.quality == Quality.GOOD


@pytest.mark.parametrize("name", ["sunspec_meter", "sunspec_weather"])
async def test_meters_and_weather_stations_are_read_in_full(name: str) -> None:
    plant = one_meter_plant(name)
    shipped = {name: profile(name)}
    async with Simulator(plant, shipped, free_ports=True) as simulator:
        mine = await one_reading(simulator, plant, shipped)
    # The simulated asset only generates, and an accumulator that reads 0 is not accumulating.
    empty = {quantity for quantity, value in mine.items() if value is None}
    assert empty == ({"energy_import_kwh"} if name == "sunspec_meter" else set())
    assert set(mine.columns) == set(shipped[name].quantities)
