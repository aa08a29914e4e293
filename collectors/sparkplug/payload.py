"""Sparkplug B payloads: bytes <-> metrics, and what number a metric carries.

Field numbers and datatypes: Eclipse Sparkplug Specification 3.0.0, chapter 6 (Payload) and its Protocol Buffers schema.
The schema is put together here from those numbers, with the fields that emsd needs: every other field, and what an
extension adds, is skipped as Protocol Buffers intends. DataSets and Templates stay unopened bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final, Literal

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from emsd.errors import BadPayload

__all__ = ["Datatype", "Metric", "Payload", "decode", "encode_rebirth_request", "number_of"]


class Datatype(IntEnum):
    """Datatypes that this collector tells apart; arrays, texts and structures are never numbers."""

    UNKNOWN = 0
    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    BOOLEAN = 11


SIGNED_BITS: Final[Mapping[int, int]] = MappingProxyType(
    {Datatype.INT8: 8, Datatype.INT16: 16, Datatype.INT32: 32, Datatype.INT64: 64}
)
LARGEST_SEQUENCE: Final = 255
COMPRESSED: Final = "SPBV1.0_COMPRESSED"
"""Mark of Eclipse Tahu's own compressed envelope, which is not part of Sparkplug 3.0."""
REBIRTH: Final = "Node Control/Rebirth"

_Field = descriptor_pb2.FieldDescriptorProto
_METRIC_FIELDS: Final = (
    ("name", 1, _Field.TYPE_BYTES),
    ("alias", 2, _Field.TYPE_UINT64),
    ("timestamp", 3, _Field.TYPE_UINT64),
    ("datatype", 4, _Field.TYPE_UINT32),
    ("is_historical", 5, _Field.TYPE_BOOL),
    ("is_null", 7, _Field.TYPE_BOOL),
)
_VALUE_FIELDS: Final = (
    ("int_value", 10, _Field.TYPE_UINT32),
    ("long_value", 11, _Field.TYPE_UINT64),
    ("float_value", 12, _Field.TYPE_FLOAT),
    ("double_value", 13, _Field.TYPE_DOUBLE),
    ("boolean_value", 14, _Field.TYPE_BOOL),
    ("string_value", 15, _Field.TYPE_BYTES),
    ("bytes_value", 16, _Field.TYPE_BYTES),
    ("dataset_value", 17, _Field.TYPE_BYTES),
    ("template_value", 18, _Field.TYPE_BYTES),
)

ValueField = Literal["whole", "real", "boolean", "other"]
_VALUE_KIND: Final[Mapping[str, ValueField]] = MappingProxyType(
    {
        "int_value": "whole",
        "long_value": "whole",
        "float_value": "real",
        "double_value": "real",
        "boolean_value": "boolean",
    }
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as it travelled: its value is only known together with its datatype."""

    name: str | None
    alias: int | None
    time_ms: int | None
    """Milliseconds since the epoch, or None when the payload's time counts."""
    datatype: int
    """0 when the message does not say; the birth said it then."""
    is_historical: bool
    is_null: bool
    """The device says that there is no value."""
    quality: int | None
    """The property Quality, where it is given: 0 bad, 192 good, 500 stale (specification 6.4.9)."""
    kind: ValueField
    raw: float | None
    """Unsigned as it travelled, where `kind` is whole; None for what is no number."""

    @property
    def needs_datatype(self) -> bool:
        """Whether its value cannot be understood without a datatype, and it brings none."""
        return self.kind == "whole" and self.datatype == Datatype.UNKNOWN and not self.is_null


@dataclass(frozen=True, slots=True)
class Payload:
    """A decoded message."""

    time_ms: int | None
    sequence: int | None
    metrics: tuple[Metric, ...]

    def whole_number(self, name: str) -> int | None:
        """Return the whole number that metric `name` carries, such as bdSeq; None when there is none."""
        for metric in self.metrics:
            if metric.name == name and metric.kind == "whole" and metric.raw is not None:
                return int(metric.raw)
        return None


def decode(data: bytes) -> Payload:
    """Return what a payload says.

    Raises:
        BadPayload: it is no Sparkplug B payload, or one that a host cannot use.
    """
    message = _PAYLOAD()
    try:
        message.ParseFromString(data)
        payload = _payload(message)
    except (DecodeError, UnicodeDecodeError) as error:
        raise BadPayload(f"the message is no Sparkplug B payload: {error}") from None
    if message.uuid == COMPRESSED.encode():
        raise BadPayload("the payload is compressed, which Sparkplug 3.0 does not know; switch it off at the edge node")
    if payload.time_ms is None and payload.sequence is None and not payload.metrics:
        raise BadPayload("the message has neither time nor sequence nor metrics; it is no Sparkplug B payload")
    if payload.sequence is not None and payload.sequence > LARGEST_SEQUENCE:
        raise BadPayload(f"the sequence number {payload.sequence} is beyond {LARGEST_SEQUENCE}; correct the edge node")
    return payload


def encode_rebirth_request(time_ms: int) -> bytes:
    """Return the payload of an NCMD that asks an edge node to publish its births again."""
    message = _PAYLOAD(timestamp=time_ms)
    message.metrics.add(name=REBIRTH.encode(), timestamp=time_ms, datatype=Datatype.BOOLEAN, boolean_value=True)
    data: bytes = message.SerializeToString()
    return data


def number_of(metric: Metric, datatype: int) -> float | None:
    """Return the number that a metric carries when it is of `datatype`; None when it carries none, or NaN.

    Signed integers travel in unsigned fields: some encoders fill the bits above the type's width with zeros, others
    with the sign. What is neither does not fit its type, and is no number.
    """
    raw = metric.raw
    if raw is None or metric.is_null:
        return None
    if metric.kind == "real":
        return raw if math.isfinite(raw) else None
    bits = SIGNED_BITS.get(datatype) if metric.kind == "whole" else None
    return float(raw) if bits is None else _signed(int(raw), bits)


def _signed(raw: int, bits: int) -> float | None:
    half, full = 1 << (bits - 1), 1 << bits
    if raw < full:
        return float(raw - full if raw >= half else raw)
    for field_bits in (32, 64):
        if (1 << field_bits) - half <= raw < 1 << field_bits:
            return float(raw - (1 << field_bits))
    return None


def _payload(message: Any) -> Payload:
    return Payload(
        time_ms=message.timestamp if message.HasField("timestamp") else None,
        sequence=message.seq if message.HasField("seq") else None,
        metrics=tuple(_metric(each) for each in message.metrics),
    )


def _metric(message: Any) -> Metric:
    field = message.WhichOneof("value")
    kind = _VALUE_KIND.get(field, "other")
    return Metric(
        name=message.name.decode() or None,
        alias=message.alias if message.HasField("alias") else None,
        time_ms=message.timestamp if message.HasField("timestamp") else None,
        datatype=message.datatype,
        is_historical=message.is_historical,
        is_null=message.is_null,
        quality=_quality(message.properties) if message.HasField("properties") else None,
        kind=kind,
        raw=None if kind == "other" else getattr(message, field),
    )


def _quality(properties: Any) -> int | None:
    for key, value in zip(properties.keys, properties.values, strict=False):
        if key == b"Quality":
            field = value.WhichOneof("value")
            return None if field is None else int(getattr(value, field))
    return None


def _payload_class() -> type[Message]:
    """Return the class of payloads, made from the field numbers above."""
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b", package="sparkplug", syntax="proto2")
    value = file.message_type.add(name="PropertyValue")
    value.oneof_decl.add(name="value")
    for name, number, kind in (("int_value", 3, _Field.TYPE_UINT32), ("long_value", 4, _Field.TYPE_UINT64)):
        value.field.add(name=name, number=number, type=kind, label=_Field.LABEL_OPTIONAL, oneof_index=0)
    properties = file.message_type.add(name="PropertySet")
    properties.field.add(name="keys", number=1, type=_Field.TYPE_BYTES, label=_Field.LABEL_REPEATED)
    _add_messages(properties, "values", 2, ".sparkplug.PropertyValue", _Field.LABEL_REPEATED)
    metric = file.message_type.add(name="Metric")
    metric.oneof_decl.add(name="value")
    for name, number, kind in _METRIC_FIELDS:
        metric.field.add(name=name, number=number, type=kind, label=_Field.LABEL_OPTIONAL)
    for name, number, kind in _VALUE_FIELDS:
        metric.field.add(name=name, number=number, type=kind, label=_Field.LABEL_OPTIONAL, oneof_index=0)
    _add_messages(metric, "properties", 9, ".sparkplug.PropertySet", _Field.LABEL_OPTIONAL)
    payload = file.message_type.add(name="Payload")
    payload.field.add(name="timestamp", number=1, type=_Field.TYPE_UINT64, label=_Field.LABEL_OPTIONAL)
    _add_messages(payload, "metrics", 2, ".sparkplug.Metric", _Field.LABEL_REPEATED)
    payload.field.add(name="seq", number=3, type=_Field.TYPE_UINT64, label=_Field.LABEL_OPTIONAL)
    payload.field.add(name="uuid", number=4, type=_Field.TYPE_BYTES, label=_Field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()  # of its own: another library may bring the official schema
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sparkplug.Payload"))


def _add_messages(
    owner: descriptor_pb2.DescriptorProto, name: str, number: int, of: str, label: _Field.Label.ValueType
) -> None:
    owner.field.add(name=name, number=number, type=_Field.TYPE_MESSAGE, type_name=of, label=label)


_PAYLOAD: Final[Any] = _payload_class()
