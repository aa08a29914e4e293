"""Faults of MQTT devices, heard by Mosquitto's own client through a real broker."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

import pytest

from emsd.collector import wall_clock_us
from emsd.plant.loader import LoadedPlant
from emsd.plant.mqtt_connection import MqttConnection
from emsd.readings import instant_us
from emsd.servers import PrivateMosquitto
from simulator import DeviceFault, Simulator
from simulator.fault_kinds import KINDS, Layer
from simulator.live_fault import LiveFault
from simulator.message_faults import MALFORMED, MessageFaults, Publication
from tests.simulator.wire import until

DEADLINE_S = 60
METER = "cleanroom-exhaust"


class Heard(NamedTuple):
    retained: bool
    payload: bytes

    @property
    def time_us(self) -> int:
        return instant_us(datetime.fromisoformat(json.loads(self.payload)["ts"]))


@asynccontextmanager
async def simulated(
    example: LoadedPlant, broker: PrivateMosquitto, interval_s: float = 0.1
) -> AsyncIterator[Simulator]:
    """One publishing meter of the example on a broker, under a topic of its own."""
    meters = tuple(
        each.model_copy(update={"topic": f"{uuid.uuid4().hex}/m", "poll_interval_s": interval_s, "parent": None})
        for each in example.plant.meters
        if each.key == METER
    )
    connections = (MqttConnection(key="broker", host="127.0.0.1", port=broker.port),)
    plant = example.plant.model_copy(update={"meters": meters, "connections": connections})
    async with Simulator(plant, example.profiles) as simulator, asyncio.timeout(DEADLINE_S):
        yield simulator


async def heard(simulator: Simulator, broker: PrivateMosquitto, count: int) -> list[Heard]:
    """Return the next messages, byte for byte."""
    program = await asyncio.create_subprocess_exec(
        broker.sub, "-p", str(broker.port), "-t", simulator.truth.meters[METER].topic or "", "-q", "1",
        "-C", str(count), "-F", "%r %x", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(program.communicate(), DEADLINE_S)
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    lines = (line.split(" ", 1) for line in output.decode().splitlines())
    return [Heard(retained == "1", base64.b16decode(rest.strip().upper())) for retained, rest in lines]


def begin(simulator: Simulator, kind: str, **parameters: float | str) -> int:
    return simulator.faults.add(DeviceFault(kind, wall_clock_us(), meter=METER, parameters=parameters))


async def test_duplicate_message_comes_twice(example: LoadedPlant, mosquitto: PrivateMosquitto) -> None:
    async with simulated(example, mosquitto) as simulator:
        begin(simulator, "duplicate_message")
        payloads = [each.payload for each in await heard(simulator, mosquitto, 6)]
        assert len(set(payloads)) in {3, 4}
        assert simulator.faults.list()[0].hits >= 3


async def test_reordered_messages_come_behind_later_ones(example: LoadedPlant, mosquitto: PrivateMosquitto) -> None:
    async with simulated(example, mosquitto) as simulator:
        begin(simulator, "reordered")
        times = [each.time_us for each in await heard(simulator, mosquitto, 8)]
    assert times != sorted(times)
    assert len(set(times)) == 8


async def test_late_message_carries_the_time_at_which_it_was_made(
    example: LoadedPlant, mosquitto: PrivateMosquitto
) -> None:
    async with simulated(example, mosquitto) as simulator:
        begin(simulator, "late_message", delay_s=0.3)
        (message, *_) = await heard(simulator, mosquitto, 1)
        assert wall_clock_us() - message.time_us >= 300_000


async def test_retained_old_is_left_on_the_broker_once(example: LoadedPlant, mosquitto: PrivateMosquitto) -> None:
    async with simulated(example, mosquitto) as simulator:
        begin(simulator, "retained_old", age_s=1800)
        await heard(simulator, mosquitto, 3)
        first, *rest = await heard(simulator, mosquitto, 3)
        assert [each.retained for each in (first, *rest)] == [True, False, False]
        assert rest[0].time_us - first.time_us > 1_790_000_000
        assert simulator.faults.list()[0].hits == 1


async def quiet_while(simulator: Simulator, broker: PrivateMosquitto, kind: str) -> None:
    """See that a fault keeps messages away until it is over, and that those beats count as lost."""
    await heard(simulator, broker, 1)
    number = begin(simulator, kind)
    lost = simulator.lost[METER]
    await until(lambda: simulator.faults.list()[0].hits >= 4)
    quiet_us = wall_clock_us()
    published = simulator.published[METER]
    assert simulator.lost[METER] >= lost + 4
    simulator.faults.remove(number)
    (message,) = await heard(simulator, broker, 1)
    assert message.time_us >= quiet_us
    assert simulator.published[METER] >= published


async def test_silent_says_nothing_until_it_is_over_and_counts_what_was_lost(
    example: LoadedPlant, mosquitto: PrivateMosquitto
) -> None:
    async with simulated(example, mosquitto) as simulator:
        await quiet_while(simulator, mosquitto, "silent")


async def test_device_offline_is_heard_as_silence_where_nobody_looks_after_the_device(
    example: LoadedPlant, mosquitto: PrivateMosquitto
) -> None:
    async with simulated(example, mosquitto) as simulator:
        await quiet_while(simulator, mosquitto, "device_offline")


async def test_lost_messages_are_said_and_never_come(example: LoadedPlant, mosquitto: PrivateMosquitto) -> None:
    async with simulated(example, mosquitto) as simulator:
        begin(simulator, "lost_message", share=0.5)
        beats = [each.time_us // 100_000 for each in await heard(simulator, mosquitto, 8)]
        assert max(after - before for before, after in pairwise(beats)) > 1
        assert simulator.lost[METER] >= simulator.faults.list()[0].hits >= 1


async def test_malformed_payloads_come_instead_or_before(example: LoadedPlant, mosquitto: PrivateMosquitto) -> None:
    async with simulated(example, mosquitto) as simulator:
        number = begin(simulator, "malformed", payload="bad_utf8", place="before")
        payloads = [each.payload for each in await heard(simulator, mosquitto, 4)]
        assert payloads.count(MALFORMED["bad_utf8"]) == 2
        simulator.faults.remove(number)
        begin(simulator, "malformed", payload="truncated")
        await until(lambda: simulator.faults.list()[1].hits >= 2)
        for each in (await heard(simulator, mosquitto, 2))[1:]:
            with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
                json.loads(each.payload)


def test_malformed_payloads_are_of_every_kind_and_the_same_under_one_seed() -> None:
    def said() -> list[bytes]:
        live = LiveFault(1, DeviceFault("malformed", 0, meter="m"))
        faults = MessageFaults([live])
        said = [Publication("t", b'{"a": 123}')]
        out = [faults.pass_on(said, lambda _: said, beat) for beat in range(400)]
        assert not any(told for _, told in out)
        return [message.payload for messages, _ in out for message in messages]

    assert set(said()) == {*MALFORMED.values(), b'{"a": '}
    assert said() == said()


async def test_clock_skew_shows_in_the_devices_time_and_in_no_value(
    example: LoadedPlant, mosquitto: PrivateMosquitto
) -> None:
    async with simulated(example, mosquitto) as simulator:
        begin(simulator, "clock_skew", by_s=-3600)
        *_, message = await heard(simulator, mosquitto, 2)
        true_us = message.time_us + 3_600_000_000
        assert abs(wall_clock_us() - true_us) < 30_000_000
        true = simulator.truth.quantities(METER, true_us)
        assert json.loads(message.payload)["energy"]["import_wh"] == pytest.approx(
            1000 * true["energy_import_kwh"], abs=1
        )


async def test_a_counter_fault_shows_in_messages_too(example: LoadedPlant, mosquitto: PrivateMosquitto) -> None:
    async with simulated(example, mosquitto) as simulator:
        begin(simulator, "counter_reset")
        *_, message = await heard(simulator, mosquitto, 3)
        assert json.loads(message.payload)["energy"]["import_wh"] < 1000


def test_every_fault_of_a_message_has_its_test() -> None:
    messages = {name for name, kind in KINDS.items() if kind.layer is Layer.MESSAGE}
    assert {name for name in messages for test in globals() if test.startswith(f"test_{name}")} == messages
