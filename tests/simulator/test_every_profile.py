"""Every Modbus profile of the library on every transport, each quantity read by clients that are not ours.

Numbers are found by minimalmodbus, pyModbusTCP and pysunspec2; what a number means is worked out here, from the words
of the profile, with no code of the collectors or of the simulator.
"""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from typing import Any

import pytest
import sunspec2.modbus.client as sunspec

from emsd.plant.modbus_connections import ModbusConnection, ModbusRtuConnection, ModbusTlsConnection, NetworkConnection
from emsd.plant.modbus_map import INTEGER_WIDTH_BITS, ModbusMap, ModbusPoint, RegisterType
from emsd.plant.models import AssetKind, Meter, Plant
from emsd.plant.sunspec_map import SunspecPoint
from emsd.quantities import BY_NAME, RUN_STATE_CODES, Kind
from simulator import Simulator
from tests.collectors.support import shipped_profiles
from tests.collectors.test_profile_library import Range, matches, state_shown
from tests.simulator.strangers import Stranger, stranger_on
from tests.simulator.transports import connection

ANCHOR = datetime(2026, 6, 17, tzinfo=UTC)
NOON_US = round(datetime(2026, 6, 17, 12, tzinfo=UTC).timestamp() * 1e6)
LIBRARY = {name: profile for name, profile in shipped_profiles().items() if profile.modbus is not None}
KINDS = ("modbus_tcp", "modbus_tls", "modbus_rtu")
ASSETS = {
    "pv_inverter": AssetKind.PV_INVERTER, "compressor": AssetKind.COMPRESSOR, "flow_meter": AssetKind.COMPRESSOR,
    "chiller": AssetKind.CHILLER, "weather": AssetKind.WEATHER_STATION,
}  # fmt: skip


def whole_library(kind: str) -> Plant:
    """A plant with a device of every profile, each at an asset of its own."""
    place = connection(kind)
    if kind == "modbus_tls":
        place["cert_file"] = "a client's"  # pysunspec2 does without one on no account
    assets, meters = [], []
    for unit_id, (name, profile) in enumerate(LIBRARY.items(), start=1):
        asset_kind = ASSETS.get(profile.kind, AssetKind.PROCESS_TOOL)
        assets.append({"key": name, "name": name, "kind": asset_kind, "area": "hall", "rated_power_kw": 60})
        meters.append(
            {"key": name, "name": name, "asset": name, "profile": name, "connection": kind, "unit_id": unit_id}
        )
    site = {"name": "Hall", "time_zone": "UTC", "carbon_region": "CN", "latitude": 48.0, "longitude": 0.0}
    return Plant.model_validate(
        {
            "site": site,
            "areas": [{"key": "hall", "name": "Hall"}],
            "assets": assets,
            "connections": [place],
            "meters": meters,
        }
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_every_quantity_of_every_profile_is_true_to_clients_that_are_not_ours(kind: str) -> None:
    options: dict[str, Any] = {"anchor": ANCHOR, "free_ports": True, "now_us": lambda: NOON_US, "refresh_s": 3600.0}
    async with Simulator(whole_library(kind), LIBRARY, **options) as simulator:
        (line,) = simulator.served_plant.connections
        assert isinstance(line, ModbusConnection)
        wrong: dict[tuple[str, str], tuple[float | None, Range | None]] = {}
        checked = 0
        for meter in simulator.plant.meters:
            truth = simulator.truth.quantities(meter.key, NOON_US)
            seen = await asyncio.to_thread(look, line, meter, truth)
            assert set(seen) == set(LIBRARY[meter.profile].quantities), meter.key
            checked += len(seen)
            wrong |= {(meter.key, quantity): found for quantity, found in seen.items() if not matches(*found)}
    assert not wrong
    assert checked == sum(len(profile.quantities) for profile in LIBRARY.values())


Seen = dict[str, tuple[float | None, Range | None]]
"""By quantity: what a client makes of the registers, and between which values that has to be."""


def look(line: ModbusConnection, meter: Meter, truth: dict[str, float]) -> Seen:
    registers = LIBRARY[meter.profile].modbus
    assert registers is not None
    assert meter.unit_id is not None
    if registers.sunspec:
        return look_by_models(line, meter.unit_id, registers, truth)
    stranger = stranger_on(line, registers, meter.unit_id)
    try:
        return {
            point.quantity: look_at(stranger, registers, point, truth[point.quantity]) for point in registers.points
        }
    finally:
        stranger.close()


# Registers ------------------------------------------------------------------------------------------------------------


def look_at(
    stranger: Stranger, registers: ModbusMap, point: ModbusPoint, true: float
) -> tuple[float | None, Range | None]:
    """Return what stands at a point of a profile, and what may stand there."""
    assert point.address is not None
    raw = sum(stranger.number(point.table, address, point.type) for address in (point.address, *point.plus))
    width = INTEGER_WIDTH_BITS.get(point.type)
    absent = point.not_available if point.not_available is not None else registers.not_available.get(point.type, ())
    if math.isnan(raw) or (width is not None and int(raw) % 2**width in absent):
        return None, state_shown(point, true) if point.quantity == "run_state" else None
    if point.bits is not None:
        raw = int(raw) >> point.bits[0] & (1 << point.bits[1] - point.bits[0] + 1) - 1
    if point.quantity == "run_state":
        return state_of(point, int(raw)), state_shown(point, true)
    if point.encoding == "four_quadrant_power_factor" and abs(raw) > 1:
        raw = math.copysign(2.0, raw) - raw
    scale, add = meaning(stranger, registers, point)
    counter = BY_NAME[point.quantity].kind is Kind.COUNTER
    if width is None:
        step = abs(true) * (2.0**-22 if point.type is RegisterType.F32 else 2.0**-50) + 1e-12
        return raw * scale + add, (true - step - (point.count or 0.0), true + step)
    step = abs(scale) * (1.0 + 1e-6)
    return raw * scale + add, (true - step, true + step * 1e-5) if counter else (true - step / 2, true + step / 2)


def meaning(stranger: Stranger, registers: ModbusMap, point: ModbusPoint) -> tuple[float, float]:
    """Return scale and offset of a point, by what the device says about itself."""
    scale, add = point.scale, point.add
    told: dict[str, float] = {}
    for each in registers.parameters:
        if each.name in point.parameters:
            raw = stranger.number(each.table, each.address, each.type)
            if each.bits is not None:
                raw = int(raw) >> each.bits[0] & (1 << each.bits[1] - each.bits[0] + 1) - 1
            told[each.name] = raw * each.scale
    if point.choice is not None:
        case = point.choice.cases.get(round(told[point.choice.parameter]), point.choice.otherwise)
        assert case is not None
        scale = scale if case.scale is None else case.scale
        add = add if case.add is None else case.add
    for name in point.times:
        scale *= told[name]
    if point.divided_by is not None:
        scale /= told[point.divided_by]
    if point.scale_register is not None:
        assert point.scale_register.address is not None
        power = stranger.number(point.table, point.scale_register.address, RegisterType.I16)
        scale *= 10.0 ** (-power if point.scale_register.divide else power)
    return scale, add


def state_of(point: ModbusPoint, raw: int) -> float | None:
    state = point.otherwise
    if point.states is not None:
        state = point.states.get(raw)
    elif point.flags is not None:
        state = next((state for bit, state in point.flags.items() if raw >> bit & 1), state)
    return None if state is None else RUN_STATE_CODES[state]


# SunSpec --------------------------------------------------------------------------------------------------------------


def look_by_models(line: ModbusConnection, unit_id: int, registers: ModbusMap, truth: dict[str, float]) -> Seen:
    """Return what pysunspec2 finds in the models of a device, in quantities of the profile."""
    if isinstance(line, ModbusRtuConnection):
        device = sunspec.SunSpecModbusClientDeviceRTU(slave_id=unit_id, name=line.device, timeout=10)
    else:
        assert isinstance(line, NetworkConnection)
        tls: dict[str, Any] = {}
        if isinstance(line, ModbusTlsConnection):
            tls = {"cafile": line.ca_file, "certfile": line.cert_file, "keyfile": line.key_file}
        device = sunspec.SunSpecModbusClientDeviceTCP(
            slave_id=unit_id, ipaddr="127.0.0.1", ipport=line.port, timeout=10, tls=bool(tls), **tls
        )
    try:
        device.scan()
        return {each.quantity: look_in(device.models, each, truth[each.quantity]) for each in registers.sunspec}
    finally:
        device.close()


def look_in(models: Any, wanted: SunspecPoint, true: float) -> tuple[float | None, Range | None]:
    number = next(each for each in wanted.names if each in models)
    model, (group, dot, name) = models[number][0], wanted.names[number].partition("[0].")
    inside = model.groups[group][0] if dot else model
    point = inside.points[name if dot else group]
    unit = BY_NAME[wanted.quantity].unit
    factor = wanted.scale * (0.001 if unit in {"kW", "kVA", "kvar", "kWh"} else 1.0)
    factor *= 0.01 if unit == "1" and point.pdef.get("units") == "Pct" else 1.0
    if wanted.states is not None:
        state = wanted.states[number].get(point.cvalue)
        return None if state is None else RUN_STATE_CODES[state], (true, true)
    counter = BY_NAME[wanted.quantity].kind is Kind.COUNTER
    power = point.pdef.get("sf", 0)
    if isinstance(power, str):
        power = (inside.points.get(power) or model.points[power]).value
    step = abs(factor) * 10.0**power * (1.0 + 1e-6)
    if point.cvalue is None:
        # An accumulator of 0 is one that does not accumulate (Device Information Model Specification).
        return None, None if counter and abs(true) < step else (true, true)
    low, high = (step, step * 1e-5) if counter else (step / 2, step / 2)
    return point.cvalue * factor + wanted.add, (true - low, true + high)
