"""A broker that fails for devices and readers alike, because the simulator stands in front of it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from emsd.errors import ConfigurationError, ServerError
from emsd.plant.loader import LoadedPlant
from emsd.plant.mqtt_connection import MqttConnection
from emsd.servers import PrivateMosquitto
from simulator import DeviceFault, Simulator
from simulator.fault_kinds import KINDS, Carrier
from tests.simulator.test_dialect_faults import plant_of
from tests.simulator.wire import until

DEADLINE_S = 60
METER = "cleanroom-exhaust"


@asynccontextmanager
async def relayed(example: LoadedPlant, broker: PrivateMosquitto) -> AsyncIterator[tuple[Simulator, int]]:
    """One publishing meter of the example behind a relay; yield the port where everybody finds the broker, too."""
    meters = tuple(
        each.model_copy(update={"topic": f"{uuid.uuid4().hex}/m", "poll_interval_s": 0.1, "parent": None})
        for each in example.plant.meters
        if each.key == METER
    )
    connections = (MqttConnection(key="broker", host="127.0.0.1", port=1883),)
    plant = example.plant.model_copy(update={"meters": meters, "connections": connections})
    way = ("127.0.0.1", broker.port)
    async with Simulator(plant, example.profiles, free_ports=True, broker=way) as simulator:
        async with asyncio.timeout(DEADLINE_S):
            (connection,) = simulator.served_plant.connections
            assert isinstance(connection, MqttConnection)
            yield simulator, connection.port


def begin(simulator: Simulator, kind: str, **parameters: float | str) -> int:
    fault = DeviceFault(kind, simulator.now_us(), connection="broker", parameters=parameters)
    return simulator.faults.add(fault)


async def heard(broker: PrivateMosquitto, port: int, topic: str, count: int) -> list[str]:
    """Return the next payloads, heard through the relay by Mosquitto's own client; fewer when it is cut off."""
    program = await asyncio.create_subprocess_exec(
        broker.sub, "-h", "127.0.0.1", "-p", str(port), "-t", topic, "-q", "1", "-C", str(count),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(program.communicate(), DEADLINE_S)
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    return output.decode().splitlines()


def topic_of(simulator: Simulator) -> str:
    return simulator.truth.meters[METER].topic or ""


async def refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.transport.abort()
    return False


async def test_connection_refused_is_a_broker_that_is_off_for_everybody(
    example: LoadedPlant, mosquitto: PrivateMosquitto
) -> None:
    async with relayed(example, mosquitto) as (simulator, port):
        assert json.loads((await heard(mosquitto, port, topic_of(simulator), 1))[0])["power"]
        number = begin(simulator, "connection_refused")
        await until(lambda: not simulator.publishers["broker"].connected)
        while not await refused(port):
            pass
        simulator.faults.remove(number)
        await until(lambda: simulator.publishers["broker"].connected)
        assert len(await heard(mosquitto, port, topic_of(simulator), 2)) == 2
        assert simulator.lost[METER] >= 1


async def test_connection_dropped_resets_whoever_comes(example: LoadedPlant, mosquitto: PrivateMosquitto) -> None:
    async with relayed(example, mosquitto) as (simulator, port):
        await until(lambda: simulator.published[METER] >= 1)
        number = begin(simulator, "connection_dropped")
        await until(lambda: not simulator.publishers["broker"].connected)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.transport.abort()
        assert simulator.faults.list()[0].hits >= 2
        simulator.faults.remove(number)
        assert len(await heard(mosquitto, port, topic_of(simulator), 2)) == 2


async def test_partition_delivers_what_was_sent_into_it_when_it_is_over(
    example: LoadedPlant, mosquitto: PrivateMosquitto
) -> None:
    async with relayed(example, mosquitto) as (simulator, port):
        await until(lambda: simulator.published[METER] >= 1)
        direct = asyncio.create_task(heard(mosquitto, mosquitto.port, topic_of(simulator), 2))
        await asyncio.wait_for(direct, DEADLINE_S)
        number = begin(simulator, "partition")
        listener = asyncio.create_task(heard(mosquitto, port, topic_of(simulator), 1))
        done, _ = await asyncio.wait({listener}, timeout=0.4)
        published = simulator.published[METER]
        assert not done
        assert simulator.faults.list()[0].hits >= 1
        simulator.faults.remove(number)
        assert len(await listener) == 1
        await until(lambda: simulator.published[METER] > published)


@pytest.mark.parametrize("kind", ["mqtt", "sparkplug_b"])
async def test_what_is_lost_is_counted_while_the_broker_is_away_and_not_only_afterwards(
    example: LoadedPlant, mosquitto: PrivateMosquitto, kind: str
) -> None:
    plant = plant_of("shelly_gen2_triphase" if kind == "mqtt" else "sparkplug_energy_meter", uuid.uuid4().hex + "/edge")
    simulator = Simulator(plant, example.profiles, free_ports=True, broker=("127.0.0.1", mosquitto.port))
    async with asyncio.timeout(DEADLINE_S), simulator:
        await until(lambda: simulator.published["m"] >= 1)
        begin(simulator, "connection_refused")
        await until(lambda: not simulator.publishers["broker"].connected)
        lost = simulator.lost["m"]
        await until(lambda: simulator.lost["m"] >= lost + 3)
        assert not simulator.publishers["broker"].connected


async def test_a_relay_keeps_nobody_who_gave_up_while_the_way_was_cut(
    example: LoadedPlant, mosquitto: PrivateMosquitto
) -> None:
    def waiting() -> int:
        return sum(each.get_name() == "simulated-relay-broker" for each in asyncio.all_tasks())

    async with relayed(example, mosquitto) as (simulator, port):
        await until(lambda: simulator.published[METER] >= 1)
        begin(simulator, "partition")
        before = waiting()
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\x10")
            await until(lambda: waiting() == before + 1)
            writer.close()
            await until(lambda: waiting() == before)


@pytest.mark.parametrize("kind", ["mqtt", "sparkplug_b"])
async def test_a_simulator_ends_while_the_way_to_its_broker_is_cut(
    example: LoadedPlant, mosquitto: PrivateMosquitto, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    plant = plant_of("shelly_gen2_triphase" if kind == "mqtt" else "sparkplug_energy_meter", uuid.uuid4().hex + "/edge")
    simulator = Simulator(plant, example.profiles, free_ports=True, broker=("127.0.0.1", mosquitto.port))
    async with asyncio.timeout(DEADLINE_S):
        async with simulator:
            await until(lambda: simulator.published["m"] >= 1)
            begin(simulator, "partition")
        assert not [each for each in asyncio.all_tasks() if each.get_name().startswith("simulated-")]
    assert not caplog.records


async def test_network_delay_makes_the_way_to_the_broker_long(
    example: LoadedPlant, mosquitto: PrivateMosquitto
) -> None:
    async with relayed(example, mosquitto) as (simulator, port):
        begin(simulator, "network_delay", delay_s=0.2, jitter_s=0.05)
        began = time.monotonic()
        assert len(await heard(mosquitto, port, topic_of(simulator), 1)) == 1
        assert time.monotonic() - began >= 0.8  # connect, its answer, subscribe, its answer
        assert simulator.faults.list()[0].hits >= 4


async def test_faults_of_the_way_need_the_simulator_in_front_of_the_broker(
    example: LoadedPlant, mosquitto: PrivateMosquitto
) -> None:
    of_broker = [kind for kind in KINDS.values() if Carrier.BROKER in kind.carriers]
    assert {each.name for each in of_broker} == {
        "connection_dropped", "connection_refused", "network_delay", "partition"
    }  # fmt: skip
    alone = Simulator(example.plant, example.profiles, free_ports=True)
    for each in of_broker:
        with pytest.raises(ConfigurationError, match="start it with --broker"):
            begin(alone, each.name)
    async with relayed(example, mosquitto) as (simulator, _):
        with pytest.raises(ConfigurationError, match="give the connection broker, not a meter"):
            simulator.faults.add(DeviceFault("network_delay", simulator.now_us(), meter=METER))
        with pytest.raises(ConfigurationError, match="cannot happen to connection broker"):
            begin(simulator, "half_open")


async def test_a_relay_says_that_its_port_is_taken(example: LoadedPlant, mosquitto: PrivateMosquitto) -> None:
    meters = tuple(each for each in example.plant.meters if each.key == METER)
    connections = (MqttConnection(key="broker", host="127.0.0.1", port=mosquitto.port),)
    plant = example.plant.model_copy(
        update={
            "meters": tuple(each.model_copy(update={"parent": None}) for each in meters),
            "connections": connections,
        }
    )
    simulator = Simulator(plant, example.profiles, broker=("127.0.0.1", 1))
    with pytest.raises(ServerError, match="connection broker cannot listen on"):
        await simulator.__aenter__()
