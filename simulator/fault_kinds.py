"""The faults that a simulated device can have: a row each, with what can still be known of the energy.

A row is data: the modules wire_faults, counter_faults and message_faults say how a fault of each layer is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["KINDS", "Carrier", "FaultKind", "FaultParameter", "Knowable", "Layer"]


class Layer(StrEnum):
    """Where a fault is made."""

    WIRE = "wire"
    """In frames, answers and connections of Modbus, and on the way to a broker."""
    VALUE = "value"
    """In what the device shows, over Modbus and MQTT alike."""
    MESSAGE = "message"
    """In the messages of an MQTT device."""


class Carrier(StrEnum):
    """What answers and messages travel on."""

    TCP = "tcp"
    """Modbus TCP, with or without TLS."""
    DEVICE_SERVER = "device_server"
    """RTU frames through TCP."""
    UDP = "udp"
    LINE = "line"
    """A serial line."""
    BROKER = "broker"
    """MQTT through a relay that the simulator keeps in front of the broker."""


class Knowable(StrEnum):
    """What can be known of a meter's energy by whoever reads it while, and after, it has a fault."""

    ALL = "all"
    """Every kWh at its time: right values keep coming, or come again within the same poll."""
    TOTAL = "total"
    """The energy of the whole fault once it is over, because the counter goes on; not when in it."""
    UP_TO_STEP = "up_to_step"
    """All but what flowed between the last sample before the step and the step: from power, or from the record."""
    AT_ANOTHER_TIME = "at_another_time"
    """Every kWh, at a time that is wrong by as much as the device's clock."""
    COUNTER = "counter"
    """The energy of every counter that is not disturbed; of the disturbed quantity nothing while it lasts."""
    NOTHING = "nothing"
    """No kWh of the time while it lasts: the meter has no counter that would tell afterwards."""


@dataclass(frozen=True, slots=True)
class FaultParameter:
    """One number or word that shapes a fault."""

    name: str
    default: float | str | None
    """None: it depends on the device; `meaning` says how."""
    unit: str
    meaning: str
    minimum: float = 0.0
    maximum: float = float("inf")
    words: tuple[str, ...] = ()
    """What it may be, when it is one of a few words."""
    is_text: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One kind of fault."""

    name: str
    layer: Layer
    what: str
    knowable: Knowable
    parameters: tuple[FaultParameter, ...] = ()
    of_connection: bool = False
    """It happens to a whole connection, never to one meter of it."""
    carriers: frozenset[Carrier] = frozenset()
    """Of a fault of the wire: what it can happen on."""
    is_step: bool = False
    """It happens at one instant and cannot end."""

    @property
    def defaults(self) -> Mapping[str, float | str | None]:
        """Its parameters as they are when nobody sets them."""
        return {each.name: each.default for each in self.parameters}


def _number(
    name: str, default: float | None, unit: str, meaning: str, low: float = 0.0, high: float = float("inf")
) -> FaultParameter:
    return FaultParameter(name, default, unit, meaning, low, high)


def _whole(name: str, default: float | None, meaning: str, low: float, high: float) -> FaultParameter:
    return FaultParameter(name, default, "1", meaning, low, high, whole=True)


def _word(name: str, meaning: str, *words: str) -> FaultParameter:
    return FaultParameter(name, words[0], "", meaning, words=words)


_SHARE: Final = _number("share", 1.0, "1", "Share of the requests or messages that it happens to.", 0.0, 1.0)
_FIRST: Final = _whole("first", 0.0, "First register that it concerns.", 0, 65535)
_LAST: Final = _whole("last", 65535.0, "Last register that it concerns.", 0, 65535)
_ONE_COUNTER: Final = FaultParameter("quantity", None, "", "A counter; absent: all of the meter.", is_text=True)
_ONE_GAUGE: Final = FaultParameter(
    "quantity", None, "", "A quantity; absent: active power, else the first gauge.", is_text=True
)
_THEN: Final = _word("then", "What becomes of the connection.", "stay", "close", "reset")

_STREAMS: Final = frozenset({Carrier.TCP, Carrier.DEVICE_SERVER})
_FRAMED: Final = frozenset({Carrier.TCP, Carrier.UDP})
_RTU: Final = frozenset({Carrier.DEVICE_SERVER, Carrier.LINE})
_MODBUS: Final = _STREAMS | _FRAMED | _RTU
_WAYS: Final = _STREAMS | {Carrier.BROKER}

_WIRE: Final = (
    FaultKind("late_reply", Layer.WIRE, "The right answer comes after the client has given up.", Knowable.TOTAL,
              (_number("delay_s", 3.0, "s", "How late.", 0.0, 3600.0), _SHARE), carriers=_MODBUS),
    FaultKind("no_reply", Layer.WIRE, "No answer at all: a dead unit behind a gateway, a lost frame.", Knowable.TOTAL,
              (_SHARE,), carriers=_MODBUS),
    FaultKind("half_open", Layer.WIRE, "Connections of before its begin take requests and never answer; new ones work.",
              Knowable.ALL, of_connection=True, carriers=_STREAMS),
    FaultKind("wrong_unit", Layer.WIRE, "The answer carries another unit id than the request.", Knowable.TOTAL,
              (_whole("unit_id", None, "The id that it carries; absent: the next one.", 0, 255), _SHARE),
              carriers=_MODBUS),
    FaultKind("another_device", Layer.WIRE, "The right unit id with the registers of another unit.", Knowable.TOTAL,
              (_whole("unit_id", None, "Whose registers; absent: those of the next unit.", 0, 255), _SHARE),
              carriers=_MODBUS),
    FaultKind("transaction_not_echoed", Layer.WIRE, "Every answer carries the same transaction id.", Knowable.TOTAL,
              (_whole("transaction_id", 0.0, "The id that it carries.", 0, 65535), _SHARE), carriers=_FRAMED),
    FaultKind("bad_checksum", Layer.WIRE, "A bit of the answer is turned over, and its checksum says so.",
              Knowable.TOTAL, (_SHARE,), carriers=_RTU),
    FaultKind("exception", Layer.WIRE, "The device, or its gateway, refuses with an exception code.", Knowable.TOTAL,
              (_whole("code", 4.0, "1 to 6; 10 and 11 are a gateway's.", 1, 255), _FIRST, _LAST, _SHARE),
              carriers=_MODBUS),
    FaultKind("busy", Layer.WIRE, "It refuses some requests with 'busy', then answers one.", Knowable.ALL,
              (_whole("times", 2.0, "Refusals before each answer.", 1, 1e6),
               _whole("code", 6.0, "6: busy; 5: acknowledged, ask again.", 5, 6)), carriers=_MODBUS),
    FaultKind("gap_exception", Layer.WIRE, "A read across registers that hold nothing is refused with code 2.",
              Knowable.ALL, carriers=_MODBUS),
    FaultKind("mid_value_exception", Layer.WIRE, "A read that begins or ends inside a value is refused with code 2.",
              Knowable.ALL, carriers=_MODBUS),
    FaultKind("garbage_registers", Layer.WIRE, "The answer is well formed, and what its registers say is random.",
              Knowable.TOTAL, (_SHARE,), carriers=_MODBUS),
    FaultKind("garbage", Layer.WIRE, "A burst of random bytes.", Knowable.TOTAL,
              (_whole("bytes", 64.0, "How many.", 1, 65536),
               _word("place", "Where it stands.", "instead", "before", "after"), _SHARE), carriers=_MODBUS),
    FaultKind("cut_frame", Layer.WIRE, "The answer ends in the middle.", Knowable.TOTAL,
              (_number("keep", 0.5, "1", "Share of the answer's bytes that still come.", 0.0, 1.0), _THEN, _SHARE),
              carriers=_MODBUS),
    FaultKind("in_pieces", Layer.WIRE, "The answer comes in pieces with pauses; it is whole in the end.", Knowable.ALL,
              (_whole("pieces", 3.0, "How many.", 2, 260),
               _number("pause_s", 0.05, "s", "Pause before each further piece.", 0.0, 60.0), _SHARE),
              carriers=_STREAMS | _RTU),
    FaultKind("duplicate_reply", Layer.WIRE, "The answer comes more than once.", Knowable.TOTAL,
              (_whole("times", 1.0, "Further copies.", 1, 100), _SHARE), carriers=_MODBUS),
    FaultKind("connection_reset", Layer.WIRE, "The connection is reset instead of an answer, or in it.", Knowable.TOTAL,
              (_number("keep", 0.0, "1", "Share of the answer's bytes that still come.", 0.0, 1.0), _SHARE),
              carriers=_STREAMS),
    FaultKind("network_delay", Layer.WIRE, "Everything is delayed, in order, by a fixed and a random time.",
              Knowable.ALL,
              (_number("delay_s", 0.1, "s", "At least.", 0.0, 3600.0),
               _number("jitter_s", 0.05, "s", "At most this much more.", 0.0, 3600.0)),
              carriers=_MODBUS | {Carrier.BROKER}),
    FaultKind("single_client", Layer.WIRE, "Whoever comes while others are connected is turned away.", Knowable.TOTAL,
              (_whole("clients", 1.0, "How many it takes.", 0, 1e6),
               _word("manner", "How.", "close", "reset", "silent")), of_connection=True, carriers=_STREAMS),
    FaultKind("partition", Layer.WIRE, "Cut off: nothing arrives either way. What was sent by TCP arrives late, when "
              "it is over.", Knowable.TOTAL, of_connection=True, carriers=_MODBUS | {Carrier.BROKER}),
    FaultKind("connection_dropped", Layer.WIRE, "Gateway or broker is failing: every connection, old or new, is reset.",
              Knowable.TOTAL, of_connection=True, carriers=_WAYS),
    FaultKind("connection_refused", Layer.WIRE, "Gateway or broker is off: connections are reset, new ones refused. "
              "Of a line: its adapter is pulled out.", Knowable.TOTAL, of_connection=True,
              carriers=_WAYS | {Carrier.LINE}),
)  # fmt: skip

_VALUE: Final = (
    FaultKind("counter_reset", Layer.VALUE, "Counters begin again.", Knowable.UP_TO_STEP,
              (_number("value", 0.0, "own", "Where they begin."), _ONE_COUNTER), is_step=True),
    FaultKind("counter_rollover", Layer.VALUE, "Counters stand just before their modulus, and pass it.", Knowable.ALL,
              (_number("left", 0.01, "own", "How much they count before they begin again at 0."),
               _number("modulus", None, "own", "Where they begin again; absent: as the device's register or profile."),
               _ONE_COUNTER), is_step=True),
    FaultKind("device_swap", Layer.VALUE, "Another device: a new serial number, counters at its own start value.",
              Knowable.UP_TO_STEP,
              (_number("value", 0.0, "own", "Where its counters begin."),
               _whole("serial", None, "Its serial number; absent: one of its own.", 1, 99_999_999)), is_step=True),
    FaultKind("counter_dip", Layer.VALUE, "Counters show less for a while, then what they should.", Knowable.TOTAL,
              (_number("by", 1.0, "own", "How much less."), _ONE_COUNTER)),
    FaultKind("counter_glitch", Layer.VALUE, "Counters show more for a while, then what they should.", Knowable.TOTAL,
              (_number("by", 1e6, "own", "How much more."), _ONE_COUNTER)),
    FaultKind("freeze", Layer.VALUE, "The device shows what it showed when it began; inside it goes on counting.",
              Knowable.TOTAL, (_word("what", "What stands still.", "all", "counters", "gauges"),)),
    FaultKind("out_of_range", Layer.VALUE, "A quantity shows what no plant can produce.", Knowable.COUNTER,
              (_number("value", None, "own", "What it shows; absent: far beyond its range, or its register full.",
                       -1e300, 1e300), _ONE_GAUGE)),
    FaultKind("sentinel", Layer.VALUE, "A quantity shows the device's own word for 'no value'.", Knowable.COUNTER,
              (_ONE_GAUGE,)),
    FaultKind("words_swapped", Layer.VALUE, "Numbers of several registers come in the other word order.",
              Knowable.TOTAL),
    FaultKind("clock_skew", Layer.VALUE, "The device's clock, which its messages carry, is wrong.",
              Knowable.AT_ANOTHER_TIME,
              (_number("by_s", 3600.0, "s", "Ahead; negative: behind.", -1e9, 1e9),
               _number("drift_ppm", 0.0, "ppm", "How much further with every second.", -1e6, 1e6))),
)  # fmt: skip

_MESSAGE: Final = (
    FaultKind("silent", Layer.MESSAGE, "The device says nothing.", Knowable.TOTAL, (_SHARE,)),
    FaultKind("device_offline", Layer.MESSAGE, "The device is gone, and its last will, bridge or edge node says so; "
              "back, it says everything anew.", Knowable.TOTAL),
    FaultKind("lost_message", Layer.MESSAGE, "Messages get lost on their way; the device takes them for said.",
              Knowable.TOTAL, (_SHARE,)),
    FaultKind("duplicate_message", Layer.MESSAGE, "Messages come more than once.", Knowable.ALL,
              (_whole("times", 1.0, "Further copies.", 1, 100), _SHARE)),
    FaultKind("reordered", Layer.MESSAGE, "Every other message is held back and comes behind later ones.", Knowable.ALL,
              (_whole("beats", 1.0, "Behind how many beats.", 1, 1000),)),
    FaultKind("late_message", Layer.MESSAGE, "Messages come late, with the time at which they were made.", Knowable.ALL,
              (_number("delay_s", 10.0, "s", "How late.", 0.0, 1e7),)),
    FaultKind("retained_old", Layer.MESSAGE, "One old message is left on the broker as retained.", Knowable.ALL,
              (_number("age_s", 3600.0, "s", "How old.", 0.0, 604_800.0),)),
    FaultKind("malformed", Layer.MESSAGE, "Payloads that are none.", Knowable.TOTAL,
              (_word("payload", "What comes.", "any", "not_json", "truncated", "wrong_type", "no_values", "nan",
                     "infinity", "huge_number", "many_digits", "nested", "bad_utf8", "empty", "noise", "bad_time",
                     "old_time", "list"),
               _word("place", "Where it stands.", "instead", "before"), _SHARE)),
)  # fmt: skip

KINDS: Final[Mapping[str, FaultKind]] = MappingProxyType({each.name: each for each in (*_WIRE, *_VALUE, *_MESSAGE)})
"""Every kind of fault by its name."""
