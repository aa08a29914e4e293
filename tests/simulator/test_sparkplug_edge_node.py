"""Sessions of simulated Sparkplug B edge nodes, their commands, and the count of what becomes of each beat."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import aiomqtt
import pytest
from esio_spb_builder.core.sparkplug_b_pb2 import Payload

from emsd.servers import PrivateMosquitto
from simulator import DeviceFault, Simulator
from simulator.sparkplug_payload import asks_for_birth
from simulator.sparkplug_publisher import SparkplugPublisher
from tests.simulator.test_dialect_faults import plant_of
from tests.simulator.test_mqtt_strangers import hearing
from tests.simulator.transports import NOON_US, profiles

PROFILE = "sparkplug_energy_meter"


@pytest.mark.parametrize("count", [1, 7, 9])
async def test_every_session_has_its_own_number_its_own_death_and_other_aliases(
    mosquitto: PrivateMosquitto, count: int
) -> None:
    group, known = uuid.uuid4().hex, profiles()
    layout = known[PROFILE].sparkplug
    assert layout is not None
    few = layout.model_copy(update={"values": layout.values[:count]})
    known = {**known, PROFILE: known[PROFILE].model_copy(update={"sparkplug": few})}
    way, start = ("127.0.0.1", mosquitto.port), asyncio.Event()
    plant = plant_of(PROFILE, f"{group}/edge/press")
    simulator = Simulator(plant, known, free_ports=True, broker=way, publish_when=start)
    said: dict[str, list[Any]] = {"NBIRTH": [], "DBIRTH": [], "NDEATH": []}
    number = 0
    async with simulator, hearing(mosquitto, f"spBv1.0/{group}/#") as messages:
        start.set()
        async for topic, data in messages:
            kind = topic.split("/")[2]
            if kind in said:
                said[kind].append(Payload.FromString(data))
            if kind == "DBIRTH" and len(said["DBIRTH"]) == 1:
                number = simulator.faults.add(
                    DeviceFault("connection_dropped", simulator.now_us(), connection="broker")
                )
            elif kind == "DBIRTH":
                break
            elif kind == "NDEATH" and len(said["NDEATH"]) == 1:
                simulator.faults.remove(number)
    first, second = ({each.name: each for each in birth.metrics}["bdSeq"].long_value for birth in said["NBIRTH"][:2])
    (death,) = said["NDEATH"][0].metrics
    assert (death.name, death.long_value, said["NDEATH"][0].HasField("seq")) == ("bdSeq", first, False)
    assert second > first == 0
    before, after = ({each.name: each.alias for each in birth.metrics} for birth in said["DBIRTH"][:2])
    assert len(set(before.values())) == len(set(after.values())) == len(before) == count
    assert not before.items() & after.items()


async def test_of_a_device_that_is_gone_the_edge_node_says_its_death_and_of_one_that_is_back_its_birth(
    mosquitto: PrivateMosquitto,
) -> None:
    group, start = uuid.uuid4().hex, asyncio.Event()
    plant = plant_of(PROFILE, f"{group}/edge/press", port=mosquitto.port)
    said: list[tuple[str, Any]] = []
    kinds: list[str] = []
    number = 0
    async with (
        Simulator(plant, profiles(), publish_when=start) as simulator,
        hearing(mosquitto, f"spBv1.0/{group}/#") as messages,
    ):
        start.set()
        async for topic, data in messages:
            kind = topic.split("/")[2]
            if kind == "NCMD":
                continue
            said.append((kind, Payload.FromString(data)))
            kinds = [each for each, _ in said]
            if kind == "DDATA" and "DDEATH" not in kinds and not number:
                number = simulator.faults.add(DeviceFault("device_offline", simulator.now_us(), meter="m"))
            elif kind == "DDEATH":
                command = Payload()
                command.metrics.add(name="Node Control/Rebirth", datatype=11, boolean_value=True)
                async with aiomqtt.Client("127.0.0.1", mosquitto.port) as host:
                    await host.publish(f"spBv1.0/{group}/NCMD/edge", command.SerializeToString())
            elif kind == "NBIRTH" and kinds.count("NBIRTH") == 2:
                simulator.faults.remove(number)
            elif kind == "DDATA" and kinds.count("DBIRTH") == 2:
                break
    told = [kind for kind, _ in said if kind != "DDATA"]
    assert told == ["NBIRTH", "DBIRTH", "DDEATH", "NBIRTH", "DBIRTH"]
    sequence = [message.seq for _, message in said[kinds.index("DDEATH") + 1 :]]
    assert sequence == list(range(len(sequence)))  # begun anew by the birth that was asked for, without a gap


async def test_a_beat_whose_message_cannot_be_sent_is_lost() -> None:
    simulator = Simulator(plant_of(PROFILE, "group/edge/press"), profiles(), now_us=lambda: NOON_US)
    publisher = simulator.publishers["broker"]
    assert isinstance(publisher, SparkplugPublisher)
    node, device = publisher.nodes["group/edge"], publisher.devices["m"]
    device.next_tick = NOON_US // device.interval_us
    device.aliases = {value.metric: place for place, value in enumerate(device.layout.values)}
    with pytest.raises(aiomqtt.MqttError):
        async with asyncio.timeout(60):
            await node._publish(aiomqtt.Client("127.0.0.1"), device)
    assert (device.published, device.lost) == (0, 2)  # the beat of noon, which was gone, and the one after it


def test_only_a_whole_command_asks_for_a_birth() -> None:
    payload = Payload()
    metric = payload.metrics.add()
    metric.name, metric.datatype, metric.boolean_value = "Node Control/Rebirth", 11, True
    command = payload.SerializeToString()
    assert asks_for_birth(command)
    metric.boolean_value = False
    assert not asks_for_birth(payload.SerializeToString())
    longer = command[:1] + bytes([command[1] + 9]) + command[2:]  # its metric says that more follows
    for broken in (b"", longer, command[:-1], b"\x80" * 1_000_000, b"\x12" + b"\xff" * 100, b"\x13"):
        assert not asks_for_birth(broken)
