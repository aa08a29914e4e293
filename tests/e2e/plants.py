"""The example plant, bent to where servers and devices of a test listen."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from emsd.plant.loader import LoadedPlant
from emsd.plant.models import Plant
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.profile import Profile
from emsd.settings import Settings
from simulator import Simulator
from simulator.fleet import fleet


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


def small_plant(*, connections: int, meters_each: int) -> tuple[Plant, dict[str, Profile]]:
    """Return a plant of equal meters that are polled every second, and their profile."""
    return fleet(connections * meters_each, connections)


def written(plant: Plant, profiles: Mapping[str, Profile], folder: Path) -> Path:
    """Write a plant and its own profiles as files, as a person would have them, and return the plant's path."""
    (folder / "profiles").mkdir(exist_ok=True)
    for name, profile in profiles.items():
        text = profile.model_dump_json(exclude_none=True, exclude_defaults=True, indent=1)
        (folder / "profiles" / f"{name}.yaml").write_text(text, encoding="utf-8")
    document = plant.model_dump(mode="json", exclude_none=True)
    document["profile_folders"] = ["profiles"]
    path = folder / "plant.yaml"
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return path


def service_settings(folder: Path, **more: object) -> Settings:
    """Return the settings of a service under test: a free port, quick looks, and a spool in `folder`."""
    quick = {
        "api_port": 0,
        "health_interval_s": 1.0,
        "accounting_interval_s": 0.5,
        "spool_folder": str(folder / "spool"),
    }
    return Settings.model_validate({**quick, **more})
