"""One device of one profile that shows what it is told to: for the tests of whoever reads such devices.

The values are encoded as the device does it, in its registers or messages, so what a right reader gets is known.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import numpy as np

from emsd.errors import ConfigurationError
from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.plant.models import Area, Asset, AssetKind, Meter, Plant, Site
from emsd.plant.mqtt_connection import MqttConnection
from emsd.plant.profile import Profile
from emsd.readings import instant_us
from simulator.bank import Unit
from simulator.broker import client_of
from simulator.clock import wall_clock_us
from simulator.identities import serial_number
from simulator.layout import Layout, wanted_quantities
from simulator.modbus_server import ModbusEndpoint, serve_modbus
from simulator.noise import FloatArray
from simulator.payload import message_of, said_once, shown, topic_of
from simulator.sunspec_profile import with_points
from simulator.truth import SimulatedPlant

__all__ = ["SetDevice", "SetModbusDevice", "SetMqttDevice", "set_device"]

_KEY: Final = "device"
_NOON: Final = datetime(2026, 6, 17, 12, tzinfo=UTC)
"""What a device shows until it is told otherwise: a summer's noon, at which everything works."""
_ASSETS: Final[Mapping[str, AssetKind]] = {
    "pv_inverter": AssetKind.PV_INVERTER,
    "compressor": AssetKind.COMPRESSOR,
    "chiller": AssetKind.CHILLER,
    "flow_meter": AssetKind.COMPRESSOR,
    "weather": AssetKind.WEATHER_STATION,
}


class SetDevice(ABC):
    """What both kinds of devices have: values by quantity, in canonical units."""

    def __init__(self, profile: Profile, plant: Plant, seed: int) -> None:
        self.profile = profile
        self.plant = plant
        """A plant of this one meter, `device`, for a collector that reads a plant."""
        self._physics = SimulatedPlant(plant, {profile.profile: profile}, seed, anchor=_NOON)
        self._values = self._physics.quantities(_KEY, instant_us(_NOON))

    @property
    def values(self) -> dict[str, float | None]:
        """What it has been told to show, or shows by itself; None is no value."""
        return {name: None if np.isnan(value) else value for name, value in self._values.items()}

    @property
    @abstractmethod
    def truth(self) -> dict[str, float | None]:
        """What a right reader gets of it now: rounded and cut as the device does; None where it says "no value"."""

    def set(self, values: Mapping[str, float | None]) -> None:
        """Show these values from now on; None is no value.

        Raises:
            ConfigurationError: the profile has no such quantity.
        """
        unknown = [name for name in values if name not in self._values]
        if unknown:
            raise ConfigurationError(
                f"a device of profile {self.profile.profile} has no {', '.join(unknown)}; "
                f"it has {', '.join(sorted(self._values))}"
            )
        self._values |= {name: np.nan if value is None else float(value) for name, value in values.items()}

    def _arrays(self) -> dict[str, FloatArray]:
        return {name: np.array([value]) for name, value in self._values.items()}


class SetModbusDevice(SetDevice):
    """A Modbus TCP device; `host`, `port` and `unit_id` say where it answers while it is served."""

    def __init__(self, profile: Profile, *, rated_power_kw: float, unit_id: int, seed: int) -> None:
        connection = ModbusTcpConnection(key="connection", host="127.0.0.1")
        plant = _plant(profile, rated_power_kw, connection, unit_id=unit_id)
        super().__init__(with_points(profile), plant, seed)
        self.layout = Layout.of(self.profile, self._physics.exponents_of(_KEY))
        self.host, self.unit_id = connection.host, unit_id
        for name in wanted_quantities(self.layout):
            if name not in self._values:
                physical = self._physics.quantity_series(_KEY, np.array([instant_us(_NOON)], dtype=np.int64), (name,))
                self._values[name] = float(physical[name][0])
        self._template = np.stack([self.layout.image_template(serial_number(seed, _KEY))])
        self._image: bytes | None = None
        self.endpoint = ModbusEndpoint("connection", {unit_id: Unit(_KEY, self, 0)})

    @property
    def port(self) -> int:
        """Where it listens; 0 while it does not."""
        return self.endpoint.port

    @property
    def requests(self) -> int:
        """Requests that it was asked so far."""
        return self.endpoint.requests

    @property
    def unit_bytes(self) -> int:
        """Length of its registers."""
        return 2 * int(self._template.shape[1])

    def image(self) -> bytes:
        """Return its registers as they travel."""
        if self._image is None:
            self._image = self.layout.images(self._arrays(), self._template).astype(">u2").tobytes()
        return self._image

    def set(self, values: Mapping[str, float | None]) -> None:
        """Show these values from the next request on; None is no value.

        Raises:
            ConfigurationError: the profile has no such quantity.
        """
        super().set(values)
        self._image = None

    @property
    def truth(self) -> dict[str, float | None]:
        """What a right reader gets of its registers now."""
        values = self._arrays()
        found: dict[str, float | None] = {}
        for point in self.layout.points:
            # What a device has beside the points of its profile, such as a second model with it, comes after them.
            if point.quantity in self.profile.quantities and point.quantity not in found:
                read = float(point.read_back(point.raw(values))[0])
                found[point.quantity] = None if np.isnan(read) else read
        return found


class SetMqttDevice(SetDevice):
    """A device that publishes when it is told to; `topic` is its own part of the topics."""

    def __init__(
        self, profile: Profile, broker: tuple[str, int], topic: str, *, rated_power_kw: float, seed: int
    ) -> None:
        self._connection = MqttConnection(key="connection", kind="mqtt", host=broker[0], port=broker[1])
        self.topic = topic
        super().__init__(profile, _plant(profile, rated_power_kw, self._connection, topic=self.topic), seed)
        self.broker = broker
        self.published = 0

    @property
    def truth(self) -> dict[str, float | None]:
        """What a right reader gets of its messages now."""
        layout, values = self.profile.mqtt, self._arrays()
        found: dict[str, float | None] = {}
        for kind in said_once(layout) if layout is not None else ():
            for value in kind.values:
                said = float(shown(value, values[value.quantity])[0])
                found[value.quantity] = None if np.isnan(said) else said
        return found

    def messages(self, time_us: int | None = None) -> list[tuple[str, bytes]]:
        """Return what it says at an instant, absent: now: (topic, payload) of each of its kinds of messages.

        Raises:
            ConfigurationError: a value of it is None: such a device has no word for that.
        """
        layout, truth = self.profile.mqtt, self.truth
        gone = sorted(name for name, value in truth.items() if value is None)
        if gone:
            raise ConfigurationError(f"a message cannot say that {', '.join(gone)} has no value; set one")
        values = {name: value for name, value in truth.items() if value is not None}
        at_us = wall_clock_us() if time_us is None else time_us
        return [
            (topic_of(kind, self.topic), message_of(kind, at_us, values, topic=self.topic, time_zone="UTC"))
            for kind in (said_once(layout) if layout is not None else ())
        ]

    async def publish(self) -> None:
        """Publish what it has to say once.

        Raises:
            aiomqtt.MqttError: the broker is not there, or does not take it.
        """
        # A broker ends the connection of a client when another comes by the same name.
        async with client_of(self._connection, f"emsd-device-{uuid.uuid4().hex[:8]}") as client:
            for topic, payload in self.messages():
                await client.publish(topic, payload, qos=1)
        self.published += 1


@asynccontextmanager
async def set_device(
    profile: Profile,
    *,
    broker: tuple[str, int] | None = None,
    topic: str | None = None,
    rated_power_kw: float = 100.0,
    unit_id: int = 1,
    seed: int = 1,
) -> AsyncIterator[SetModbusDevice | SetMqttDevice]:
    """Have a device of a profile until the block ends: a Modbus one listens on a free loopback port.

    broker          host and port, for a device that publishes
    topic           its own part of its topics; absent: emsd-device/<profile>, which all of the profile share
    rated_power_kw  of what it measures; a device with powers of ten has them set for it

    Raises:
        ConfigurationError: the profile is none of Modbus or MQTT, or a broker is missing.
    """
    if profile.modbus is not None:
        device = SetModbusDevice(profile, rated_power_kw=rated_power_kw, unit_id=unit_id, seed=seed)
        async with serve_modbus(device.endpoint, device.host, 0):
            yield device
    elif profile.mqtt is None:
        raise ConfigurationError(
            f"profile {profile.profile} speaks neither Modbus nor plain MQTT; simulate a plant with such a meter"
        )
    elif broker is None:
        raise ConfigurationError(f"a device of profile {profile.profile} publishes; say to which broker")
    else:
        own = topic or f"emsd-device/{profile.profile}"
        yield SetMqttDevice(profile, broker, own, rated_power_kw=rated_power_kw, seed=seed)


def _plant(
    profile: Profile,
    rated_power_kw: float,
    connection: ModbusTcpConnection | MqttConnection,
    *,
    unit_id: int | None = None,
    topic: str | None = None,
) -> Plant:
    kind = _ASSETS.get(profile.kind, AssetKind.PROCESS_TOOL)
    return Plant(
        site=Site(name="Bench", time_zone="UTC", carbon_region="CN", latitude=48.0, longitude=0.0),
        areas=(Area(key="bench", name="Bench"),),
        assets=(Asset(key="machine", name="Machine", kind=kind, area="bench", rated_power_kw=rated_power_kw),),
        connections=(connection,),
        meters=(
            Meter(
                key=_KEY,
                name="Device",
                asset="machine",
                profile=profile.profile,
                connection=connection.key,
                unit_id=unit_id,
                topic=topic,
            ),
        ),
    )
