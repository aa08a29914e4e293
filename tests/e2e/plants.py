"""The example plant, bent to where servers and devices of a test listen."""

from __future__ import annotations

import socket
from dataclasses import replace

from emsd.plant.loader import LoadedPlant
from emsd.plant.mqtt_connection import MqttConnection
from simulator import Simulator


def at_broker(loaded: LoadedPlant, port: int) -> LoadedPlant:
    """Return the plant with every MQTT connection at the broker on `port`."""
    connections = tuple(
        each.model_copy(update={"host": "127.0.0.1", "port": port}) if isinstance(each, MqttConnection) else each
        for each in loaded.plant.connections
    )
    return replace(loaded, plant=loaded.plant.model_copy(update={"connections": connections}))


def served(loaded: LoadedPlant, simulator: Simulator) -> LoadedPlant:
    """Return the plant with the ports that the simulator really listens on."""
    return replace(loaded, plant=simulator.served_plant)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
