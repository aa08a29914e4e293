"""A three-phase energy meter with Tasmota: LWT, INFO, STATE and SENSOR, and answers to STATUS.

Decimals are Tasmota's defaults: WattRes 0, VoltRes 0, AmpRes 3, FreqRes 2, EnergyRes 3; energies are sums over the
phases, as long as SetOption129 is off, while powers are lists. TelePeriod is the meter's poll interval.
Sources: https://tasmota.github.io/docs/MQTT/ and /Commands/; the driver xdrv_03_energy.ino writes the object ENERGY.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from emsd.plant.models import Meter
from emsd.readings import instant_us, to_datetime
from simulator.identities import serial_number
from simulator.mqtt_speaker import MqttDevice, Publication, Speaker, compact
from simulator.phases import LINES, phase_shares
from simulator.points import whole_counts
from simulator.truth import SimulatedPlant

__all__ = ["TasmotaBidirectional", "TasmotaSpeaker"]

_COUNT_KWH: Final = 0.001
_VERSION: Final = "14.4.1(release)"
_NAMES: Final = (
    *(f"active_power_{line}_kw" for line in LINES),
    "reactive_power_kvar",
    "power_factor",
    "frequency_hz",
    *(f"voltage_{line}_n_v" for line in LINES),
    *(f"current_{line}_a" for line in LINES),
    "energy_import_kwh",
    "energy_export_kwh",
)


class TasmotaSpeaker(Speaker):
    """A device that counts what is drawn."""

    def __init__(self, topic: str, devices: Sequence[MqttDevice], physics: SimulatedPlant) -> None:
        super().__init__(topic, devices, physics)
        self.topic = topic
        self.meter: Meter = self.devices[0].meter
        self.will = Publication(f"tele/{topic}/LWT", b"Offline", qos=1, retain=True)
        self.subscriptions = (f"cmnd/{topic}/#",)
        self._shares = phase_shares(physics, self.meter.key)
        self._zone = ZoneInfo(self.meter.time_zone or physics.plant.site.time_zone)
        self._connects = 0

    def hello(self, time_us: int) -> list[Publication]:
        """Return that it is online, who it is, and what it shows."""
        self._connects += 1
        number = f"{serial_number(self.physics.seed, self.meter.key) & 0xFFFFFF:06X}"
        info = (
            {"Module": "Generic", "Version": _VERSION, "FallbackTopic": f"cmnd/DVES_{number}_fb/",
             "GroupTopic": "cmnd/tasmotas/"},
            {"WebServerMode": "Admin", "Hostname": f"tasmota-{number}", "IPAddress": "127.0.0.1"},
            {"RestartReason": "Power On", "BootCount": 1},
        )  # fmt: skip
        return [
            Publication(f"tele/{self.topic}/LWT", b"Online", qos=1, retain=True),
            *(
                Publication(f"tele/{self.topic}/INFO{place}", compact({f"Info{place}": each}))
                for place, each in enumerate(info, start=1)
            ),
            *self._telemetry(time_us),
        ]

    def beat(self, device: MqttDevice, time_us: int) -> list[Publication]:  # noqa: ARG002  (it has but one meter)
        """Return STATE and SENSOR."""
        return self._telemetry(time_us)

    def then(self, device: MqttDevice, time_us: int) -> list[Publication]:  # noqa: ARG002  (it has but one meter)
        """Return STATE and SENSOR of then."""
        return self._telemetry(time_us)

    def reply(self, topic: str, payload: bytes, time_us: int) -> list[Publication]:
        """Return what STATUS 8, 10 or 11 shows; other commands are not known."""
        command = topic.rpartition("/")[2].casefold()
        wanted = payload.strip()
        if command == "status" and wanted in {b"8", b"10"}:
            answer: dict[str, Any] = {"StatusSNS": self._sensor(time_us)}
        elif command == "status" and wanted == b"11":
            answer = {"StatusSTS": self._state(time_us)}
        else:
            return [Publication(f"stat/{self.topic}/RESULT", compact({"Command": "Unknown"}))]
        return [Publication(f"stat/{self.topic}/STATUS{wanted.decode()}", compact(answer))]

    def _telemetry(self, time_us: int) -> list[Publication]:
        return [
            Publication(f"tele/{self.topic}/STATE", compact(self._state(time_us))),
            Publication(f"tele/{self.topic}/SENSOR", compact(self._sensor(time_us))),
        ]

    def _state(self, time_us: int) -> dict[str, Any]:
        seconds = self.uptime_s(time_us)
        days, rest = divmod(seconds, 86_400)
        uptime = f"{days}T{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
        return {
            "Time": self._local(time_us), "Uptime": uptime, "UptimeSec": seconds, "Heap": 25, "SleepMode": "Dynamic",
            "Sleep": 50, "LoadAvg": 19, "MqttCount": self._connects,
            "Wifi": {"AP": 1, "SSId": "plant", "Channel": 6, "Mode": "11n", "RSSI": 72, "Signal": -64, "LinkCount": 1,
                     "Downtime": "0T00:00:03"},
        }  # fmt: skip

    def _sensor(self, time_us: int) -> dict[str, Any]:
        time_us -= time_us % 1_000_000  # its clock shows whole seconds, and so do its values
        now = self.values(self.meter, time_us, _NAMES)
        apparent_va = [now[f"voltage_{line}_n_v"] * now[f"current_{line}_a"] for line in LINES]
        energy: dict[str, Any] = {
            "TotalStartTime": self._local(self.physics.anchor_us),
            "Total": _counted(now["energy_import_kwh"]),
            **self._days(time_us, now["energy_import_kwh"]),
            **self._directions(now),
            "Power": [round(1000 * now[f"active_power_{line}_kw"]) for line in LINES],
            "ApparentPower": [round(each) for each in apparent_va],
            "ReactivePower": [round(1000 * share * now["reactive_power_kvar"]) for share in self._shares],
            "Factor": [round(abs(now["power_factor"]), 2)] * len(LINES),
            "Frequency": round(now["frequency_hz"], 2),
            "Voltage": [round(now[f"voltage_{line}_n_v"]) for line in LINES],
            "Current": [round(now[f"current_{line}_a"], 3) for line in LINES],
        }
        return {"Time": self._local(time_us), "ENERGY": energy}

    def _directions(self, now: dict[str, float]) -> dict[str, float]:  # noqa: ARG002  (it counts but one)
        return {}

    def _days(self, time_us: int, total_kwh: float) -> dict[str, float]:
        """Return what was drawn yesterday and today by the local calendar, as far as it has counted."""
        midnight = self._at(time_us).replace(hour=0, minute=0, second=0, microsecond=0)
        began = [instant_us(midnight - timedelta(days=1)), instant_us(midnight)]
        times = np.maximum(np.array(began, dtype=np.int64), self.physics.anchor_us)
        then = self.series(self.meter.key, times, ("energy_import_kwh",))["energy_import_kwh"]
        return {
            "Yesterday": round(float(then[1] - then[0]), 3),
            "Today": round(total_kwh - float(then[1]), 3),
        }

    def _at(self, time_us: int) -> datetime:
        return to_datetime(time_us).astimezone(self._zone)

    def _local(self, time_us: int) -> str:
        return self._at(time_us).replace(tzinfo=None).isoformat(timespec="seconds")


class TasmotaBidirectional(TasmotaSpeaker):
    """A device that counts what is drawn and what is fed back."""

    def _directions(self, now: dict[str, float]) -> dict[str, float]:
        return {
            "ImportActive": _counted(now["energy_import_kwh"]),
            "ExportActive": _counted(now["energy_export_kwh"]),
        }


def _counted(kwh: float) -> float:
    return round(float(whole_counts(np.array([kwh]), _COUNT_KWH)[0]) * _COUNT_KWH, 3)
