"""Zigbee2MQTT with metering plugs behind it: one bridge on the broker, whose last will is its own.

zigbee2mqtt/bridge/state, info, devices   retained
zigbee2mqtt/<name>                        when something has changed; advanced.last_seen is ISO_8601
zigbee2mqtt/<name>/availability           retained; availability is switched on
zigbee2mqtt/<name>/get                    has a plug's values published

Sources: https://www.zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html and /guide/configuration/. Zigbee's
metering clusters leave resolutions to the plug; these are usual: 0.1 W, 0.01 A, 1 V, 0.01 kWh.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from emsd.quantities import RUN_STATE_CODES, RunState
from emsd.readings import to_datetime
from simulator.identities import serial_number
from simulator.mqtt_speaker import MqttDevice, Publication, Speaker, compact
from simulator.points import whole_counts
from simulator.truth import SimulatedPlant

__all__ = ["ZigbeeBridge"]

_BASE: Final = "zigbee2mqtt"
_COUNT_KWH: Final = 0.01
_NAMES: Final = ("active_power_kw", "voltage_l1_n_v", "current_l1_a", "energy_import_kwh", "run_state")
_ONLINE, _OFFLINE = compact({"state": "online"}), compact({"state": "offline"})


class ZigbeeBridge(Speaker):
    """The bridge and every plug that it has joined."""

    def __init__(self, name: str, devices: Sequence[MqttDevice], physics: SimulatedPlant) -> None:
        super().__init__(name, devices, physics)
        self.will = Publication(f"{_BASE}/bridge/state", _OFFLINE, qos=1, retain=True)
        self.subscriptions = tuple(f"{_BASE}/{device.topic}/get" for device in self.devices)
        self._said: dict[str, dict[str, Any]] = {}
        self._gone: set[str] = set()

    def hello(self, time_us: int) -> list[Publication]:
        """Return that it is there, whom it knows, and what they show."""
        known = [self._description(device) for device in self.devices]
        return [
            Publication(f"{_BASE}/bridge/state", _ONLINE, qos=1, retain=True),
            Publication(f"{_BASE}/bridge/info", compact({"version": "2.6.0", "log_level": "info"}), retain=True),
            Publication(f"{_BASE}/bridge/devices", compact(known), retain=True),
            *(self._availability(device) for device in self.devices),
            *(
                self._message(device, self._state(device, time_us), time_us)
                for device in self.devices
                if not device.faults.is_silent
            ),
        ]

    def notice(self, device: MqttDevice, time_us: int) -> list[Publication]:
        """Return a plug's availability when it has gone; and with it what it shows when it has come back."""
        gone = device.faults.is_offline
        if gone == (device.meter.key in self._gone):
            return []
        if gone:
            self._gone.add(device.meter.key)
            return [self._availability(device)]
        self._gone.discard(device.meter.key)
        return [self._availability(device), self._message(device, self._state(device, time_us), time_us)]

    def beat(self, device: MqttDevice, time_us: int) -> list[Publication]:
        """Return what a plug shows, if that has changed."""
        time_us -= time_us % 1000
        state = self._state(device, time_us)
        if state == self._said.get(device.meter.key):
            return []
        return [self._message(device, state, time_us)]

    def then(self, device: MqttDevice, time_us: int) -> list[Publication]:
        """Return what a plug showed."""
        return [self._publication(device, self._state(device, time_us), time_us)]

    def reply(self, topic: str, payload: bytes, time_us: int) -> list[Publication]:  # noqa: ARG002  (any asks for all)
        """Return what the plug shows that was asked."""
        asked = (device for device in self.devices if topic == f"{_BASE}/{device.topic}/get")
        answering = (device for device in asked if not device.faults.is_silent)
        return [self._message(device, self._state(device, time_us), time_us) for device in answering]

    def _availability(self, device: MqttDevice) -> Publication:
        word = _OFFLINE if device.faults.is_offline else _ONLINE
        return Publication(f"{_BASE}/{device.topic}/availability", word, qos=1, retain=True)

    def _message(self, device: MqttDevice, state: dict[str, Any], time_us: int) -> Publication:
        self._said[device.meter.key] = state
        return self._publication(device, state, time_us)

    def _publication(self, device: MqttDevice, state: dict[str, Any], time_us: int) -> Publication:
        seen = to_datetime(time_us - time_us % 1000).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        payload = state | {"linkquality": 120, "last_seen": seen}
        return Publication(f"{_BASE}/{device.topic}", compact(payload))

    def _state(self, device: MqttDevice, time_us: int) -> dict[str, Any]:
        now = self.values(device.meter, time_us - time_us % 1000, _NAMES)
        off = now["run_state"] == RUN_STATE_CODES[RunState.OFF]
        counts = float(whole_counts(np.array([now["energy_import_kwh"]]), _COUNT_KWH)[0])
        return {
            "current": round(now["current_l1_a"], 2),
            "energy": round(counts * _COUNT_KWH, 2),
            "power": round(1000 * now["active_power_kw"], 1),
            "state": "OFF" if off else "ON",
            "voltage": round(now["voltage_l1_n_v"]),
        }

    def _description(self, device: MqttDevice) -> dict[str, Any]:
        address = f"0x00158d{serial_number(self.physics.seed, device.meter.key):010x}"
        return {
            "ieee_address": address, "type": "Router", "friendly_name": device.topic, "supported": True,
            "interview_completed": True, "power_source": "Mains (single phase)",
            "definition": {"model": "simulated", "vendor": "simulated", "description": "Metering plug"},
        }  # fmt: skip
