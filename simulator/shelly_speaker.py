"""A Shelly Gen2 energy meter on MQTT: online, component status, notifications, and answers to requests.

<prefix>/online         true, retained; false is its last will
<prefix>/status/<component>  the whole status of a component when it has changed
<prefix>/events/rpc     NotifyStatus with what has changed, NotifyEvent with the record of each minute
<prefix>/rpc            requests; answers go to <src>/rpc
<prefix>/command        status_update has everything published

Sources: https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/Mqtt, and Notifications, RPCProtocol and
CommonErrors in /gen2/General/. Both "generic status update" and "RPC status notifications" are switched on.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from emsd.plant.models import Meter
from simulator import shelly
from simulator.identities import serial_number
from simulator.mqtt_speaker import MqttDevice, Publication, Speaker, compact
from simulator.phases import LINES, phase_shares
from simulator.truth import SimulatedPlant

__all__ = ["ShellyMono", "ShellySpeaker", "ShellyTriphase"]

_US_PER_MINUTE: Final = 60_000_000
_US_PER_TIMESTAMP: Final = 10_000
"""ts has two decimals of a second."""
_KNOT_US: Final = 10_000_000
_NO_HANDLER: Final = 404
_INVALID_ARGUMENT: Final = -103
_NOT_FOUND: Final = -105
_LONGEST_TOPIC_BYTES: Final = 65_535
_RECORD: Final = (*shelly.GAUGES, *shelly.ENERGY, "reactive_energy_import_kvarh", "reactive_energy_export_kvarh")


class ShellySpeaker(Speaker):
    """One device with its components; what it says depends on its profile."""

    model: str
    app: str
    device_profile: str

    def __init__(self, prefix: str, devices: Sequence[MqttDevice], physics: SimulatedPlant) -> None:
        super().__init__(prefix, devices, physics)
        self.prefix = prefix
        self.mac = f"{serial_number(physics.seed, self.devices[0].meter.key):012X}"
        self.id = f"shellypro3em-{self.mac.lower()}"
        self.will = Publication(f"{prefix}/online", b"false", qos=1, retain=True)
        self.subscriptions = (f"{prefix}/rpc", f"{prefix}/command")
        self._said: dict[str, dict[str, Any]] = {}
        self._minute: dict[str, int] = {}

    @abstractmethod
    def gauges(self, meter: Meter, time_us: int) -> tuple[str, dict[str, Any]]:
        """Return the component that shows power, and its status."""

    @abstractmethod
    def counters(self, meter: Meter, time_us: int) -> tuple[str, dict[str, Any]]:
        """Return the component that counts energy, and its status."""

    @abstractmethod
    def record(self, meter: Meter, minute_us: int) -> list[float]:
        """Return the record of the minute that began then."""

    def hello(self, time_us: int) -> list[Publication]:
        """Return that it is online, and the status of everything."""
        self.uptime_s(time_us)  # which begins now
        self._minute = {device.meter.key: time_us // _US_PER_MINUTE for device in self.devices}
        online = Publication(f"{self.prefix}/online", b"true", qos=1, retain=True)
        return [online, *self._everything(time_us)]

    def beat(self, device: MqttDevice, time_us: int) -> list[Publication]:
        """Return power that has moved by its threshold or is a minute old, and counters on the full minute."""
        time_us -= time_us % _US_PER_TIMESTAMP
        minute = time_us // _US_PER_MINUTE
        turned = minute != self._minute.setdefault(device.meter.key, minute)
        component, status = self.gauges(device.meter, time_us)
        said: list[Publication] = []
        before = self._said.get(component)
        if turned or before is None or shelly.moved(before, status):
            self._said[component] = status
            said += self._tell(component, status, time_us)
        if turned:
            self._minute[device.meter.key] = minute
            counter, counted = self.counters(device.meter, time_us)
            said += self._tell(counter, counted, time_us)
            said.append(self._event(counter, counted["id"], device.meter, time_us))
        return said

    def then(self, device: MqttDevice, time_us: int) -> list[Publication]:
        """Return the whole status of the meter's components."""
        shown = (show(device.meter, time_us) for show in (self.gauges, self.counters))
        return [Publication(f"{self.prefix}/status/{name}", compact(status), qos=1) for name, status in shown]

    def reply(self, topic: str, payload: bytes, time_us: int) -> list[Publication]:
        """Return the answer to a request, or everything when that was commanded."""
        if topic.endswith("/command"):
            return self._everything(time_us) if payload == b"status_update" else []
        try:
            request = json.loads(payload)
            number, source, method = request["id"], request["src"], str(request["method"])
            where = _answers_of(source)
            if not isinstance(number, int | float | str):
                return []
        except (ValueError, KeyError, TypeError, RecursionError):
            return []  # without id and src there is nobody to answer
        answer = {"id": number, "src": self.id, "dst": source} | self._called(method, request.get("params"), time_us)
        return [Publication(where, compact(answer), qos=1)]

    def _called(self, method: str, parameters: object, time_us: int) -> dict[str, Any]:
        if method == "Shelly.GetDeviceInfo":
            return {"result": self._info()}
        if method == "Shelly.GetStatus":
            return {"result": self._components(time_us) | self._system(time_us)}
        namespace, _, verb = method.partition(".")
        mine = {name: status for name, status in self._components(time_us).items() if _is_of(name, namespace)}
        if verb != "GetStatus" or not mine:
            return {"error": {"code": _NO_HANDLER, "message": f"No handler for {method}"}}
        wanted = parameters.get("id") if isinstance(parameters, dict) else None
        if wanted is None:
            return {"error": {"code": _INVALID_ARGUMENT, "message": "Missing required argument 'id'!"}}
        found = mine.get(f"{namespace.casefold()}:{wanted}")
        if found is None:
            return {"error": {"code": _NOT_FOUND, "message": f"Argument 'id', value {wanted} not found!"}}
        return {"result": found}

    def _components(self, time_us: int) -> dict[str, dict[str, Any]]:
        found = (show(device.meter, time_us) for device in self.devices for show in (self.gauges, self.counters))
        return dict(found)

    def _everything(self, time_us: int) -> list[Publication]:
        """Return the status of every component; what is told as power from then on is what differs from it."""
        components = self._components(time_us)
        self._said |= components
        return [
            Publication(f"{self.prefix}/status/{name}", compact(status), qos=1) for name, status in components.items()
        ]

    def _tell(self, component: str, status: dict[str, Any], time_us: int) -> list[Publication]:
        return [
            Publication(f"{self.prefix}/status/{component}", compact(status), qos=1),
            self._notify("NotifyStatus", {component: status}, time_us),
        ]

    def _event(self, component: str, number: int, meter: Meter, time_us: int) -> Publication:
        began_us = (time_us // _US_PER_MINUTE - 1) * _US_PER_MINUTE
        began_s = began_us // 1_000_000
        data = {"ts": began_s, "period": 60, "values": [self.record(meter, began_us)]}
        event = {"component": component, "id": number, "event": "data", "ts": began_s, "data": data}
        return self._notify("NotifyEvent", {"events": [event]}, time_us)

    def _notify(self, method: str, content: dict[str, Any], time_us: int) -> Publication:
        params = {"ts": time_us / 1_000_000} | content
        frame = {"src": self.id, "dst": f"{self.prefix}/events", "method": method, "params": params}
        return Publication(f"{self.prefix}/events/rpc", compact(frame), qos=1)

    def _info(self) -> dict[str, Any]:
        return {
            "name": None, "id": self.id, "mac": self.mac, "slot": 1, "model": self.model, "gen": 2,
            "fw_id": "simulated", "ver": "1.4.4", "app": self.app, "auth_en": False, "auth_domain": None,
            "profile": self.device_profile,
        }  # fmt: skip

    def _system(self, time_us: int) -> dict[str, Any]:
        uptime_s = self.uptime_s(time_us)
        system = {"mac": self.mac, "restart_required": False, "unixtime": time_us // 1_000_000, "uptime": uptime_s}
        return {"mqtt": {"connected": True}, "sys": system}

    def _minute_series(self, meter: Meter, minute_us: int) -> dict[str, Any]:
        times = np.arange(minute_us, minute_us + _US_PER_MINUTE + 1, _KNOT_US, dtype=np.int64)
        return self.series(meter.key, times, _RECORD)


class ShellyTriphase(ShellySpeaker):
    """Pro 3EM in the triphase profile: one meter, em:0 and emdata:0."""

    model, app, device_profile = "SPEM-003CEBEU", "Pro3EM", "triphase"

    def __init__(self, prefix: str, devices: Sequence[MqttDevice], physics: SimulatedPlant) -> None:
        super().__init__(prefix, devices, physics)
        self._shares = phase_shares(physics, self.devices[0].meter.key)

    def gauges(self, meter: Meter, time_us: int) -> tuple[str, dict[str, Any]]:
        """Return em:0."""
        return "em:0", shelly.em(self.values(meter, time_us, shelly.GAUGES))

    def counters(self, meter: Meter, time_us: int) -> tuple[str, dict[str, Any]]:
        """Return emdata:0."""
        return "emdata:0", shelly.emdata(self.values(meter, time_us, shelly.ENERGY), self._shares)

    def record(self, meter: Meter, minute_us: int) -> list[float]:
        """Return the record of all phases and the neutral."""
        return shelly.energy_record(self._minute_series(meter, minute_us), self._shares, LINES)


class ShellyMono(ShellySpeaker):
    """Pro 3EM in the monophase profile: each channel is a meter, em1:<channel> and em1data:<channel>."""

    model, app, device_profile = "SPEM-003CEBEU", "Pro3EM", "monophase"

    def gauges(self, meter: Meter, time_us: int) -> tuple[str, dict[str, Any]]:
        """Return em1:<channel>."""
        channel = _channel(meter)
        return f"em1:{channel}", shelly.em1(channel, self.values(meter, time_us, shelly.GAUGES))

    def counters(self, meter: Meter, time_us: int) -> tuple[str, dict[str, Any]]:
        """Return em1data:<channel>."""
        channel = _channel(meter)
        return f"em1data:{channel}", shelly.em1data(channel, self.values(meter, time_us, shelly.ENERGY))

    def record(self, meter: Meter, minute_us: int) -> list[float]:
        """Return the record of its clamp."""
        return shelly.energy_record(self._minute_series(meter, minute_us), (1.0,), LINES[:1])


def _channel(meter: Meter) -> int:
    return int((meter.topic or "").rpartition("/")[2])


def _answers_of(source: object) -> str:
    """Return the topic of answers to who asked; raises ValueError where a broker takes no message."""
    topic = f"{source}/rpc"
    if not isinstance(source, str) or not source or {"#", "+", "\0"} & set(source):
        raise ValueError("src is no topic")
    if len(topic.encode()) > _LONGEST_TOPIC_BYTES:
        raise ValueError("src is too long")
    return topic


def _is_of(component: str, namespace: str) -> bool:
    return component.partition(":")[0] == namespace.casefold()
