"""What the Sparkplug B tests share: payloads written by hand, never by the collector's codec, and a scripted node."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from emsd.collector import BoundMeter
from emsd.plant.profile import Profile
from tests.collectors.support import bound

INT16, INT32, INT64, UINT64, FLOAT, DOUBLE, BOOLEAN = 2, 3, 4, 8, 9, 10, 11


def varint(number: int) -> bytes:
    """Return a base-128 varint (Protocol Buffers, Encoding)."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def whole(field_number: int, number: int) -> bytes:
    return varint(field_number << 3) + varint(number)


def block(field_number: int, data: bytes) -> bytes:
    return varint(field_number << 3 | 2) + varint(len(data)) + data


def value_field(datatype: int, value: float) -> bytes:
    """Return the value of a metric in the field that its datatype calls for."""
    if datatype == FLOAT:
        return varint(12 << 3 | 5) + struct.pack("<f", value)
    if datatype == DOUBLE:
        return varint(13 << 3 | 1) + struct.pack("<d", value)
    if datatype == BOOLEAN:
        return whole(14, int(value))
    bits = {1: 8, 2: 16, 3: 32, 4: 64}.get(datatype)
    number = int(value) if bits is None else int(value) & (1 << bits) - 1
    return whole(11 if datatype in {4, 8} else 10, number)


def metric(
    value: float | None = None,
    *,
    name: str | None = None,
    alias: int | None = None,
    time_ms: int | None = None,
    datatype: int = DOUBLE,
    say_datatype: bool = True,
    historical: bool = False,
    more: bytes = b"",
) -> bytes:
    """Return a metric; without a value it says is_null."""
    out = b"" if name is None else block(1, name.encode())
    out += b"" if alias is None else whole(2, alias)
    out += b"" if time_ms is None else whole(3, time_ms)
    out += whole(4, datatype) if say_datatype else b""
    out += whole(5, 1) if historical else b""
    out += whole(7, 1) if value is None else value_field(datatype, value)
    return out + more


def payload(*metrics: bytes, time_ms: int | None = None, seq: int | None = None) -> bytes:
    out = b"" if time_ms is None else whole(1, time_ms)
    out += b"".join(block(2, each) for each in metrics)
    return out + (b"" if seq is None else whole(3, seq))


def meter_profile(**values: str) -> Profile:
    """Make a profile from quantities to the names of their metrics."""
    return Profile.model_validate(
        {
            "profile": "made_up",
            "kind": "generic",
            "manufacturer": "none",
            "model": "none",
            "source": ["a test"],
            "sparkplug": {"values": [{"quantity": name, "metric": called} for name, called in values.items()]},
        }
    )


def power_meter(topic: str, meter_id: int = 2_000_017, rated_power_kw: float = 80.0) -> BoundMeter:
    """Make a meter with two quantities, metrics Power and Energy."""
    made_of = meter_profile(active_power_kw="Power", energy_import_kwh="Energy")
    return bound(meter_id, made_of, topic=topic, rated_power_kw=rated_power_kw)


@dataclass
class ScriptedNode:
    """An edge node's messages as (kind, payload), its sequence and session numbers kept."""

    session: int = 0
    sequence: int = 0
    aliases: dict[str, int] = field(default_factory=lambda: {"Power": 1, "Energy": 2})

    def _next(self) -> int:
        self.sequence, now = (self.sequence + 1) % 256, self.sequence
        return now

    def node_birth(self, time_ms: int, *more: bytes) -> bytes:
        self.sequence = 0
        bd_seq = metric(self.session, name="bdSeq", datatype=INT64, time_ms=time_ms)
        rebirth = metric(0, name="Node Control/Rebirth", datatype=BOOLEAN, time_ms=time_ms)
        return payload(bd_seq, rebirth, *more, time_ms=time_ms, seq=self._next())

    def birth_metrics(self, time_ms: int, **values: float) -> list[bytes]:
        return [
            metric(value, name=name, alias=self.aliases[name], time_ms=time_ms, datatype=DOUBLE)
            for name, value in values.items()
        ]

    def device_birth(self, time_ms: int, **values: float) -> bytes:
        return payload(*self.birth_metrics(time_ms, **values), time_ms=time_ms, seq=self._next())

    def data(self, time_ms: int, **values: float) -> bytes:
        """Return data by alias alone, without datatypes, as specification 3.0 wants it."""
        metrics = [
            metric(value, alias=self.aliases[name], time_ms=time_ms, datatype=DOUBLE, say_datatype=False)
            for name, value in values.items()
        ]
        return payload(*metrics, time_ms=time_ms, seq=self._next())

    def device_death(self, time_ms: int) -> bytes:
        return payload(time_ms=time_ms, seq=self._next())

    def death(self) -> bytes:
        return payload(metric(self.session, name="bdSeq", datatype=INT64), time_ms=1_767_225_600_000)
