"""One edge node as its messages show it: which metrics its aliases stand for, and whether a message went missing.

An alias means something only as long as no message is missing since the birth that gave it out: the missing one may
have been another birth. So whatever breaks the chain of sequence numbers makes the node forget every alias, and a new
birth is wanted; until it comes only metrics that carry their name are understood. No I/O and no clock here.

Aliases are kept apart by device: those of a node and its devices must not collide (specification 6.4.6), but where a
node gives the same out twice, each of its devices still means its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from collectors.sparkplug.payload import Metric, Payload, number_of
from emsd.readings import Quality

__all__ = ["EdgeNode", "MessageKind", "Understood", "Value"]

_SEQUENCES: Final = 256
_BAD: Final = 0
_STALE: Final = 500


class MessageKind(StrEnum):
    """What edge nodes publish; a topic names one of these."""

    NODE_BIRTH = "NBIRTH"
    NODE_DATA = "NDATA"
    NODE_DEATH = "NDEATH"
    DEVICE_BIRTH = "DBIRTH"
    DEVICE_DATA = "DDATA"
    DEVICE_DEATH = "DDEATH"

    @property
    def of_device(self) -> bool:
        """Whether its topic names a device."""
        return self.value[0] == "D"


@dataclass(frozen=True, slots=True)
class Value:
    """What one metric says; None with flags that say why, where it says nothing."""

    metric: str
    time_ms: int | None
    number: float | None
    flags: int


@dataclass(slots=True)
class Understood:
    """What a message means."""

    values: list[Value] = field(default_factory=list)
    unknown: int = 0
    """Metrics that no known birth explains."""
    needs_birth: bool = False
    gap: bool = False
    """A message before this one is missing, or came too late."""
    is_repeat: bool = False
    """The very message that came before it; it says nothing new."""
    is_outdated: bool = False
    """The death of an earlier session."""


@dataclass(frozen=True, slots=True)
class _Births:
    """What a birth has said of the metrics of a node, or of one device."""

    names: dict[int, str]
    datatypes: dict[str, int]


class EdgeNode:
    """An edge node and its devices."""

    def __init__(self) -> None:
        self.is_born = False
        """Whether its birth is known and it has not died since."""
        self._births: dict[str | None, _Births] = {}
        self._is_complete = False
        """Whether nothing went missing since its birth."""
        self._session: int | None = None
        """bdSeq of its birth."""
        self._next_sequence: int | None = None
        self._last: tuple[MessageKind, str | None, bytes] | None = None

    def forget(self) -> None:
        """Trust no alias any more: messages may have been missed. The session's number stays known for its death."""
        self._births.clear()
        self._is_complete = False
        self._next_sequence = None
        self._last = None

    def receive(self, kind: MessageKind, device: str | None, payload: Payload, data: bytes) -> Understood:
        """Take the next message and return what it means; `data` are the bytes that `payload` was decoded from."""
        if kind is MessageKind.NODE_DEATH:
            return self._death(payload)
        if self._last == (kind, device, data):
            return Understood(is_repeat=True)
        self._last = (kind, device, data)
        if kind is MessageKind.NODE_BIRTH:
            return self._birth(payload)
        understood = Understood(gap=self._breaks_sequence(payload.sequence))
        if understood.gap:
            self._births.clear()
            self._is_complete = False
        if kind is MessageKind.DEVICE_BIRTH:
            self._births[device] = _births(payload.metrics)
        if kind is MessageKind.DEVICE_DEATH:
            self._births.pop(device, None)
        else:
            self._understand(payload.metrics, self._births.get(device), understood)
        understood.needs_birth = understood.unknown > 0 or not (
            self._is_complete and (kind is MessageKind.DEVICE_DEATH or device in self._births)
        )
        return understood

    def missed(self) -> None:
        """Note that a message of it came which cannot be decoded."""
        self._births.clear()
        self._is_complete = False
        self._next_sequence = None

    def _birth(self, payload: Payload) -> Understood:
        self._births = {None: _births(payload.metrics)}
        self._session = payload.whole_number("bdSeq")
        self._next_sequence = ((payload.sequence or 0) + 1) % _SEQUENCES
        self._is_complete = self.is_born = True
        understood = Understood()
        self._understand(payload.metrics, self._births[None], understood)
        return understood

    def _death(self, payload: Payload) -> Understood:
        session = payload.whole_number("bdSeq")
        if self.is_born and None not in (session, self._session) and session != self._session:
            return Understood(is_outdated=True)
        self.forget()
        self.is_born = False
        return Understood()

    def _breaks_sequence(self, sequence: int | None) -> bool:
        """Return whether a message is missing before the one of this number, and expect the one after it."""
        # Every message but a death and a command has a number; encoders made from a proto3 schema leave a 0 out.
        number = sequence or 0
        expected, self._next_sequence = self._next_sequence, (number + 1) % _SEQUENCES
        return expected is not None and number != expected

    def _understand(self, metrics: Sequence[Metric], births: _Births | None, understood: Understood) -> None:
        for metric in metrics:
            name = metric.name
            if name is None and births is not None and metric.alias is not None:
                name = births.names.get(metric.alias)
            datatype = metric.datatype
            if not datatype and name is not None and births is not None:
                datatype = births.datatypes.get(name, 0)
            if name is None or (metric.needs_datatype and not datatype):
                understood.unknown += 1
            else:
                understood.values.append(_value(metric, name, datatype))


def _births(metrics: Sequence[Metric]) -> _Births:
    named = [(metric, metric.name) for metric in metrics if metric.name is not None]
    return _Births(
        {metric.alias: name for metric, name in named if metric.alias is not None},
        {name: metric.datatype for metric, name in named},
    )


def _value(metric: Metric, name: str, datatype: int) -> Value:
    flags = Quality.REPLAYED if metric.is_historical else Quality.GOOD
    number = number_of(metric, datatype)
    if metric.quality == _STALE:
        number, flags = None, flags | Quality.STALE
    elif metric.is_null or metric.quality == _BAD or (number is None and metric.kind == "real"):
        number, flags = None, flags | Quality.NOT_AVAILABLE
    elif number is None:
        flags |= Quality.IMPLAUSIBLE
    return Value(name, metric.time_ms, number, int(flags))
