"""Every shipped Modbus profile against a simulated device of its kind, over a real socket.

The simulator encodes with code of its own, so a profile that the two understand differently shows here. Time stands
still on both sides: what the device shows is exactly what physics has at that instant.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from collectors.modbus import open_collector
from collectors.modbus.codec import BlockDecoder
from collectors.modbus.reads import Reads
from emsd.collector import BoundMeter, DeviceIdentity
from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.plant.modbus_map import INTEGER_WIDTH_BITS, ModbusMap, ModbusPoint, RegisterType
from emsd.plant.models import Area, Asset, AssetKind, Meter, Plant, Site
from emsd.plant.profile import Profile
from emsd.quantities import BY_NAME, RUN_STATE_CODES, Kind, RunState
from simulator import Simulator
from simulator.device_settings import Exponents, choose_parameters, scale_key, scaling_with
from simulator.sunspec_profile import with_points
from tests.collectors.support import PROFILES, MemorySink, eventually, running, shipped_profiles

DAY = datetime(2026, 6, 17, tzinfo=UTC)
NOON_US = round(datetime(2026, 6, 17, 12, 0, tzinfo=UTC).timestamp() * 1e6)
"""A summer's day at the longitude of the simulated site: inverters work, compressors run."""

RATED_KW = 60.0
_ASSETS = {
    "power_meter": AssetKind.PROCESS_TOOL,
    "pv_inverter": AssetKind.PV_INVERTER,
    "compressor": AssetKind.COMPRESSOR,
    "chiller": AssetKind.CHILLER,
    "flow_meter": AssetKind.COMPRESSOR,
    "weather": AssetKind.WEATHER_STATION,
}

LEARNS_ITS_HOLES = {"ingersoll_rand_xe"}
"""Whether these can be read across unlisted registers is not documented: the simulated one refuses, and is learned."""


LIBRARY = {name: profile for name, profile in shipped_profiles().items() if profile.modbus is not None}


@dataclass(frozen=True)
class Polled:
    """What the collector made of one simulated device, and what that truly had."""

    values: Mapping[str, float | None]
    truth: Mapping[str, float]
    exponents: Exponents
    identities: Sequence[DeviceIdentity]
    incomplete_polls: int
    refusals: Mapping[int, int]
    """Exceptions that the device answered, by code."""


def plant_of(profile: Profile) -> Plant:
    kind = _ASSETS.get(profile.kind, AssetKind.PROCESS_TOOL)
    return Plant(
        site=Site(name="Library", time_zone="UTC", carbon_region="CN", latitude=48.0, longitude=0.0),
        areas=(Area(key="hall", name="Hall"),),
        assets=(Asset(key="machine", name="Machine", kind=kind, area="hall", rated_power_kw=RATED_KW),),
        connections=(ModbusTcpConnection(key="bus", host="127.0.0.1", timeout_s=5.0),),
        meters=(
            Meter(
                key="meter",
                name="Meter",
                asset="machine",
                profile=profile.profile,
                connection="bus",
                unit_id=1,
                poll_interval_s=0.25,
            ),
        ),
    )


async def poll(profile: Profile) -> Polled:
    """Poll one simulated device of this profile once."""
    plant, sink = plant_of(profile), MemorySink()
    async with AsyncExitStack() as stack:
        simulator = Simulator(
            plant, {profile.profile: profile}, anchor=DAY, free_ports=True, now_us=lambda: NOON_US, refresh_s=3600.0
        )
        await stack.enter_async_context(simulator)
        (connection,) = simulator.served_plant.connections
        collector = open_collector(connection, [BoundMeter(1, plant.meters[0], unhurried(profile))], sink)
        await stack.enter_async_context(running(collector))
        await eventually(lambda: {name for each in sink.of(1) for name in each.columns} >= set(profile.quantities))
        (health,) = collector.health()
        return Polled(
            {name: value for reading in reversed(sink.of(1)) for name, value in reading.items()},
            simulator.truth.quantities("meter", NOON_US),
            simulator.truth.exponents_of("meter"),
            [identity for _, identity, _ in sink.identities],
            health.polls_partial + health.polls_failed,
            Counter(simulator.endpoints["bus"].units[1].refusals),
        )


def unhurried(profile: Profile) -> Profile:
    """Leave out the rest after connecting, which protects real devices and takes time here."""
    assert profile.modbus is not None
    return profile.model_copy(update={"modbus": profile.modbus.model_copy(update={"pause_after_connect_s": 0.0})})


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Polled | BaseException]:
    """Poll a device of every profile, all at once: each on a socket and a bus of its own."""

    async def poll_all() -> list[Polled | BaseException]:
        return await asyncio.gather(*(poll(profile) for profile in LIBRARY.values()), return_exceptions=True)

    return dict(zip(LIBRARY, asyncio.run(poll_all()), strict=True))


@pytest.fixture(params=LIBRARY)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def polled(name: str, outcomes: dict[str, Polled | BaseException]) -> Polled:
    outcome = outcomes[name]
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def registers_of(name: str) -> ModbusMap:
    registers = LIBRARY[name].modbus
    assert registers is not None
    return registers


def test_every_profile_of_the_folder_names_itself_and_its_sources() -> None:
    shipped = shipped_profiles()
    assert set(shipped) == {path.stem for path in PROFILES.glob("*.yaml")}
    assert all(profile.source for profile in shipped.values())


def test_the_page_of_devices_lists_every_power_meter_and_inverter() -> None:
    page = (PROFILES.parents[1] / "docs" / "devices.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`([a-z0-9_]+)`", page))
    assert {name for name, profile in LIBRARY.items() if profile.kind in {"power_meter", "pv_inverter"}} <= listed


def test_every_quantity_comes_back_within_its_resolution(name: str, polled: Polled) -> None:
    # A SunSpec device carries what its models have; the simulated one says by itself where.
    registers = with_points(LIBRARY[name]).modbus
    assert registers is not None
    assert {point.quantity for point in registers.points} == set(LIBRARY[name].quantities)
    wrong = {
        point.quantity: (polled.values[point.quantity], allowed)
        for point in registers.points
        if not matches(polled.values[point.quantity], allowed := shown(point, registers, polled))
    }
    assert not wrong


def test_the_device_refuses_none_of_the_planned_requests(name: str, polled: Polled) -> None:
    assert set(polled.refusals) <= ({2} if name in LEARNS_ITS_HOLES else set())
    assert polled.incomplete_polls == 0


def test_the_device_is_recognised_by_its_own_identity(name: str, polled: Polled) -> None:
    wanted = {register.what for register in registers_of(name).identity}
    told = {what for each in polled.identities for what in ("serial", "model", "firmware") if getattr(each, what)}
    assert wanted <= told


# What may come back ---------------------------------------------------------------------------------------------------

Range = tuple[float, float]


def matches(value: float | None, allowed: Range | None) -> bool:
    if value is None or allowed is None:
        return value is None and allowed is None
    return allowed[0] <= value <= allowed[1]


def shown(point: ModbusPoint, registers: ModbusMap, polled: Polled) -> Range | None:
    """Return between which values a device must show the truth; None where its profile says that it has no value."""
    truth = polled.truth[point.quantity]
    if point.quantity == "run_state":
        return state_shown(point, truth)
    scale, add = scaling_with(point, choose_parameters(registers))
    if (key := scale_key(point)) is not None:
        scale *= 10.0 ** (-polled.exponents[key] if key.divide else polled.exponents[key])
    if point.type in {RegisterType.F32, RegisterType.F64}:
        step = abs(truth - add) * (2.0**-22 if point.type is RegisterType.F32 else 2.0**-51) + 1e-12
        return truth - step - (point.count or 0.0), truth + step
    raw = round((truth - add) / scale)
    # An accumulator of 0 is not accumulating (SunSpec Device Information Model Specification).
    silent = point.model is not None and BY_NAME[point.quantity].kind is Kind.COUNTER and raw == 0
    if silent or is_sentinel(point, registers, raw):
        return None
    step = abs(scale) * (1.0 + 1e-6)
    if BY_NAME[point.quantity].kind is Kind.COUNTER:
        return truth - step, truth + step * 1e-5
    return truth - step / 2, truth + step / 2


def is_sentinel(point: ModbusPoint, registers: ModbusMap, raw: int) -> bool:
    width = INTEGER_WIDTH_BITS[point.type]
    listed = point.not_available if point.not_available is not None else registers.not_available.get(point.type, ())
    return raw % 2**width in listed


def state_shown(point: ModbusPoint, truth: float) -> Range | None:
    """A device without a word for a state says what comes nearest: a machine that it calls running may be loaded."""
    words = {*(point.states or {}).values(), *(point.flags or {}).values(), point.otherwise}
    state = next(each for each, code in RUN_STATE_CODES.items() if code == truth)
    nearest = [each for each in (state, *NEAREST.get(state, ())) if each in words]
    if not nearest:
        return None
    return RUN_STATE_CODES[nearest[0]], RUN_STATE_CODES[nearest[0]]


NEAREST = {
    RunState.LOADED: (RunState.RUNNING,),
    RunState.UNLOADED: (RunState.RUNNING, RunState.STANDBY),
    RunState.RUNNING: (RunState.LOADED,),
    RunState.OFF: (RunState.STANDBY,),
    RunState.STANDBY: (RunState.OFF,),
}


# Limits ---------------------------------------------------------------------------------------------------------------


def test_planned_requests_respect_every_limit_of_the_profile(name: str) -> None:
    registers = registers_of(name)
    reads = Reads(registers, 1.0, None)
    for rates in ((), reads.rates_s):
        for request in reads.requests(rates):
            block = request.block
            assert block.count <= registers.max_registers
            assert block.address % registers.align_registers == 0
            assert block.count % registers.align_registers == 0
            for each in registers.forbidden:
                apart = each.table is not block.table or each.first >= block.address + block.count
                assert apart or each.last < block.address
            assert set(request.names) == {target.point.quantity for target in block.targets}


def test_without_its_parameters_a_device_has_no_value_that_depends_on_them(name: str) -> None:
    registers = registers_of(name)
    for request in Reads(registers, 1.0, None).requests(()):
        values, _, _ = BlockDecoder(request.block, registers, None, {}).decode(bytes(2 * request.block.count))
        decoded = dict(zip(BlockDecoder(request.block, registers, None, {}).names, values, strict=True))
        dependent = [target.point.quantity for target in request.block.targets if target.point.parameters]
        assert all(decoded[quantity] is None for quantity in dependent)
