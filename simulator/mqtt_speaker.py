"""What has one connection to a broker: a device, or a bridge or gateway of several. It says what it has to say.

A speaker is asked at an instant and answers with messages; it reads no clock and knows no socket.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emsd.plant.models import Meter
from emsd.plant.mqtt_map import MqttAvailability, MqttMap, MqttMessage, filled
from simulator.faces import Faces
from simulator.message_faults import Publication
from simulator.noise import FloatArray, IntArray
from simulator.payload import message_of, said_once, shown
from simulator.publishing import PublishingMeter
from simulator.truth import SimulatedPlant

__all__ = ["MappedSpeaker", "MqttDevice", "Publication", "Speaker", "compact"]


@dataclass(slots=True)
class MqttDevice(PublishingMeter):
    """One publishing meter; at QoS 1 the broker has acknowledged what counts as published."""

    layout: MqttMap

    @property
    def topic(self) -> str:
        """The meter's own topic."""
        return self.meter.topic or self.meter.key

    def topic_of(self, kind: MqttMessage | MqttAvailability) -> str:
        """Return where it publishes this kind of message."""
        return filled(kind.topic, self.topic)


class Speaker(ABC):
    """One connection to a broker, and the meters behind it.

    name   tells it apart from others of its plant's connection
    will   what the broker says for it when it is gone; it says so itself when it stops
    faces  what its meters show

    Times are those of its own clock, which `clock_us` tells and sets before it is asked for anything.
    """

    def __init__(self, name: str, devices: Sequence[MqttDevice], physics: SimulatedPlant) -> None:
        self.name = name
        self.devices = tuple(devices)
        self.physics = physics
        self.faces = Faces(physics, {})
        self.will: Publication | None = None
        self.subscriptions: tuple[str, ...] = ()
        self._ahead_us = 0
        self._began_us: int | None = None
        self._is_gone = False

    @property
    def is_silent(self) -> bool:
        """Whether all of its meters are to say nothing."""
        return all(device.faults.is_silent for device in self.devices)

    def clock_us(self, now_us: int, device: MqttDevice | None = None) -> int:  # noqa: ARG002  (one clock for all)
        """Return what its clock says at an instant; meters behind one connection share it."""
        wrong = (self.faces.clock_us(each.meter.key, now_us) - now_us for each in self.devices)
        self._ahead_us = next((each for each in wrong if each), 0)
        return now_us + self._ahead_us

    def uptime_s(self, time_us: int) -> int:
        """Return how long it has been on since it was first asked [s]; its clock may be set meanwhile."""
        true_us = time_us - self._ahead_us
        if self._began_us is None:
            self._began_us = true_us
        return max(0, true_us - self._began_us) // 1_000_000

    @abstractmethod
    def then(self, device: MqttDevice, time_us: int) -> list[Publication]:
        """Return what one of its meters would have said of everything at another time; nothing changes by it."""

    def series(self, meter_key: str, times_us: IntArray, names: Sequence[str] | None = None) -> dict[str, FloatArray]:
        """Return quantities of one of its meters, as it shows them, at instants of its clock, each of shape [times]."""
        return self.faces.quantity_series(meter_key, times_us - self._ahead_us, names)

    def hello(self, time_us: int) -> list[Publication]:  # noqa: ARG002  (what most have nothing to say to)
        """Return what it says as soon as it is connected."""
        return []

    def notice(self, device: MqttDevice, time_us: int) -> list[Publication]:  # noqa: ARG002  (it goes as a whole)
        """Return what is said when the device of one of its meters has gone, or has come back, since it was asked last.

        Here they are one device, or share a gateway's connection: with the last of them it goes, and its will is heard.
        """
        gone = all(each.faults.is_offline for each in self.devices)
        if gone == self._is_gone:
            return []
        self._is_gone, self._began_us = gone, None
        if gone:
            return [] if self.will is None else [self.will]
        return self.hello(time_us)

    @abstractmethod
    def beat(self, device: MqttDevice, time_us: int) -> list[Publication]:
        """Return what one of its meters says on its beat; nothing, when there is nothing new."""

    def reply(self, topic: str, payload: bytes, time_us: int) -> list[Publication]:  # noqa: ARG002
        """Return what it says to a message on one of its subscriptions."""
        return []

    def values(self, meter: Meter, time_us: int, names: Sequence[str]) -> dict[str, float]:
        """Return quantities of one of its meters as it shows them, in their units."""
        series = self.series(meter.key, np.array([time_us], dtype=np.int64), names)
        return {name: float(value[0]) for name, value in series.items()}


class MappedSpeaker(Speaker):
    """Devices without a manner of their own: their profile's mapping, turned round, on every beat."""

    def __init__(self, name: str, devices: Sequence[MqttDevice], physics: SimulatedPlant) -> None:
        super().__init__(name, devices, physics)
        for device in self.devices:
            if device.layout.availability is not None:
                self.will = _presence(device, device.layout.availability, there=False)

    def hello(self, time_us: int) -> list[Publication]:  # noqa: ARG002  (the same at any time)
        """Return that each device is there, where its profile has a place for it."""
        rules = ((device, device.layout.availability) for device in self.devices)
        return [_presence(device, rule, there=True) for device, rule in rules if rule is not None]

    def beat(self, device: MqttDevice, time_us: int) -> list[Publication]:
        """Return one message of each of its kinds."""
        physical = self.series(device.meter.key, np.array([time_us], dtype=np.int64))
        said = []
        for kind in said_once(device.layout):
            values = {value.quantity: float(shown(value, physical[value.quantity])[0]) for value in kind.values}
            payload = message_of(kind, time_us, values, topic=device.topic, time_zone=device.meter.time_zone)
            said.append(Publication(device.topic_of(kind), payload, qos=device.layout.qos))
        return said

    def then(self, device: MqttDevice, time_us: int) -> list[Publication]:
        """Return the messages of a beat of then."""
        return self.beat(device, time_us)

    def clock_us(self, now_us: int, device: MqttDevice | None = None) -> int:
        """Return what the clock of a device says; each has its own, and none is asked at other times."""
        self._ahead_us = 0 if device is None else self.faces.clock_us(device.meter.key, now_us) - now_us
        return now_us + self._ahead_us


def compact(document: Any) -> bytes:
    """Return a document as JSON without blanks."""
    return json.dumps(document, separators=(",", ":")).encode()


def _presence(device: MqttDevice, rule: MqttAvailability, *, there: bool) -> Publication:
    word = (rule.online if there else rule.offline)[0]
    payload = word if rule.path is None else json.dumps({rule.path: word})
    return Publication(device.topic_of(rule), payload.encode(), qos=1, retain=True)
