"""Which MQTT devices have a manner of their own, and what a reader of their messages gets.

A device of another profile speaks by its profile's mapping alone; see MappedSpeaker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from emsd.plant.mqtt_map import MqttValue
from emsd.plant.profile import Profile
from emsd.plant.sparkplug_map import SparkplugValue
from emsd.quantities import BY_NAME, Kind
from simulator.faces import Faces
from simulator.mqtt_speaker import MappedSpeaker, MqttDevice, Speaker
from simulator.noise import FloatArray
from simulator.payload import shown
from simulator.phases import LINES
from simulator.shelly_speaker import ShellyMono, ShellyTriphase
from simulator.tasmota import TasmotaBidirectional, TasmotaSpeaker
from simulator.truth import SimulatedPlant
from simulator.zigbee2mqtt import ZigbeeBridge

__all__ = ["readable", "speakers_of"]

_Make = Callable[[str, Sequence[MqttDevice], SimulatedPlant], Speaker]


def _whole_topic(device: MqttDevice) -> str:
    return device.topic


def _without_channel(device: MqttDevice) -> str:
    return device.topic.rpartition("/")[0]


def _one_bridge(device: MqttDevice) -> str:  # noqa: ARG001  (whoever it is)
    return "zigbee2mqtt"


def _alone_or_together(device: MqttDevice) -> str:
    """A device that has a last will needs a connection of its own; the others share their gateway's."""
    return "" if device.layout.availability is None else device.topic


_SPEAKERS: Final[Mapping[str, tuple[_Make, Callable[[MqttDevice], str]]]] = {
    "shelly_gen2_triphase": (ShellyTriphase, _whole_topic),
    "shelly_gen2_mono": (ShellyMono, _without_channel),
    "tasmota_energy": (TasmotaSpeaker, _whole_topic),
    "tasmota_energy_bidirectional": (TasmotaBidirectional, _whole_topic),
    "zigbee2mqtt_plug": (ZigbeeBridge, _one_bridge),
}
"""By profile: what speaks for its meters, and which of them share one."""


def _steps(power_kw: float, total_kw: float, volts: float, amperes: float, hertz: float) -> dict[str, float]:
    lines = {f"active_power_{line}_kw": power_kw for line in LINES}
    lines |= {f"voltage_{line}_n_v": volts for line in LINES} | {f"current_{line}_a": amperes for line in LINES}
    totals = dict.fromkeys(("active_power_kw", "reactive_power_kvar", "apparent_power_kva"), total_kw)
    return lines | totals | {"current_n_a": amperes, "frequency_hz": hertz, "power_factor": 0.01}


_TASMOTA: Final = _steps(0.001, 0.001, 1.0, 0.001, 0.01)
_STEPS: Final[Mapping[str, Mapping[str, float]]] = {
    "shelly_gen2_triphase": _steps(1e-4, 1e-6, 0.1, 0.001, 0.1),
    "shelly_gen2_mono": _steps(1e-4, 1e-4, 0.1, 0.001, 0.1),
    "tasmota_energy": _TASMOTA,
    "tasmota_energy_bidirectional": _TASMOTA,
    "zigbee2mqtt_plug": _steps(1e-4, 1e-4, 1.0, 0.01, 0.1),
}
"""By profile: in which steps a device shows its gauges, in the quantity's unit."""


def speakers_of(devices: Sequence[MqttDevice], physics: SimulatedPlant, faces: Faces | None = None) -> list[Speaker]:
    """Return what speaks for these devices, each with a connection to the broker of its own.

    faces  what the meters show; absent: what is true
    """
    grouped: dict[tuple[_Make, str], list[MqttDevice]] = defaultdict(list)
    for device in devices:
        make, name_of = _SPEAKERS.get(device.meter.profile, (MappedSpeaker, _alone_or_together))
        grouped[make, name_of(device)].append(device)
    speakers = [make(name, together, physics) for (make, name), together in grouped.items()]
    if faces is not None:
        for each in speakers:
            each.faces = faces
    return speakers


def readable(profile: Profile, value: MqttValue | SparkplugValue, physical: FloatArray) -> FloatArray:
    """Return what a reader of a device's messages gets for a quantity, in its unit; counters go by their count."""
    step = _STEPS.get(profile.profile, {}).get(value.quantity)
    if step is None or BY_NAME[value.quantity].kind is Kind.COUNTER:
        return shown(value, physical)
    amount = np.abs(physical) if value.quantity == "power_factor" else physical
    return np.round(np.rint(amount / step) * step, 9)
