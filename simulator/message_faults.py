"""Faults of an MQTT device's messages: what the broker gets instead of one message a beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from simulator.live_fault import LiveFault

__all__ = ["MALFORMED", "MessageFaults", "Publication"]

MALFORMED: Final[Mapping[str, bytes]] = {
    "not_json": b"temperature: 21",
    "wrong_type": b'{"power": {"total_w": "a lot"}, "ENERGY": "none", "value": []}',
    "no_values": b'{"hello": "world"}',
    "nan": b'{"power": {"total_w": NaN}}',
    "infinity": b'{"power": {"total_w": Infinity}}',
    "huge_number": b'{"power": {"total_w": 1e999}}',
    "many_digits": b'{"power": {"total_w": ' + b"9" * 400 + b"}}",
    "nested": b'{"power": ' * 5000 + b"1" + b"}" * 5000,
    "bad_utf8": b'{"power": {"total_w": 1, "\xff\xfe": 2}}',
    "empty": b"",
    "noise": bytes(range(256)) * 256,
    "bad_time": b'{"ts": "yesterday", "power": {"total_w": 1}}',
    "old_time": b'{"ts": "1970-01-01T00:00:00Z", "power": {"total_w": 1}}',
    "list": b"[1, 2, 3]",
}
"""Payloads that no sound device sends, by name; `truncated` is made of the message itself."""


class Publication(NamedTuple):
    """One message as it is published."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


Before = Callable[[int], Sequence[Publication]]
"""What the device said so long ago [us], of everything that it shows."""


@dataclass(slots=True)
class MessageFaults:
    """What one device does with its messages; called once a beat."""

    faults: Sequence[LiveFault] = ()
    _held: list[tuple[int, int, Publication]] = field(default_factory=list)
    """(beats left, due [us], message) of what is held back."""
    _retained: set[int] = field(default_factory=set)
    """Faults that have left their old message."""
    _beat: int = 0

    def __bool__(self) -> bool:
        """Whether anything is to be done to messages now."""
        return bool(self.faults or self._held)

    @property
    def is_offline(self) -> bool:
        """Whether it is gone, and those who look after it know."""
        return any(each.fault.kind == "device_offline" for each in self.faults)

    @property
    def is_silent(self) -> bool:
        """Whether it is to say nothing at all."""
        silent = (each.fault.kind == "silent" and each.fault.number("share") >= 1 for each in self.faults)
        return self.is_offline or any(silent)

    def keeps_silent(self) -> bool:
        """Whether it says nothing on this beat; counted if so."""
        return any(each.strikes() for each in self.faults if each.fault.kind in {"silent", "device_offline"})

    def pass_on(
        self, said: Sequence[Publication], before: Before, now_us: int
    ) -> tuple[list[Publication], bool | None]:
        """Return what goes to the broker in a beat, and whether the beat's own values are, or will be, among it.

        said    what the device has to say; where it has nothing there is nothing to spoil, and that is None
        before  what it said earlier
        """
        out = list(said)
        told = True if out else None
        late = [message for beats, due_us, message in self._held if beats <= 1 and due_us <= now_us]
        self._held = [
            (max(beats - 1, 0), due_us, message)
            for beats, due_us, message in self._held
            if beats > 1 or due_us > now_us
        ]
        first: list[Publication] = []
        self._beat += bool(out)
        for live in self.faults:
            kind = live.fault.kind
            if kind == "retained_old":
                first += self._left_behind(live, before)
            elif not out:
                continue
            elif kind == "lost_message" and live.strikes():
                out, told = [], False
            elif kind == "malformed" and live.strikes():
                told = told and live.fault.word("place") == "before"
                poison = [each._replace(payload=_spoilt(live, each.payload)) for each in out]
                out = [*poison, *out] if live.fault.word("place") == "before" else poison
            elif kind == "duplicate_message" and live.strikes():
                out = [each for each in out for _ in range(1 + int(live.fault.number("times")))]
            elif kind in {"reordered", "late_message"}:
                out = self._hold_back(live, out, now_us)
        return [*first, *out, *late], told

    def _hold_back(self, live: LiveFault, out: list[Publication], now_us: int) -> list[Publication]:
        if live.fault.kind == "reordered":
            if self._beat % 2 == 0:
                return out
            beats, due_us = int(live.fault.number("beats")), now_us
        else:
            beats, due_us = 1, now_us + round(live.fault.number("delay_s") * 1e6)
        live.hits += len(out)
        self._held += [(beats, due_us, each) for each in out]
        return []

    def _left_behind(self, live: LiveFault, before: Before) -> list[Publication]:
        if live.number in self._retained:
            return []
        self._retained.add(live.number)
        live.hits += 1
        return [each._replace(retain=True) for each in before(round(live.fault.number("age_s") * 1e6))]


def _spoilt(live: LiveFault, payload: bytes) -> bytes:
    name = live.fault.word("payload")
    if name == "any":
        name = live.chance.choice([*MALFORMED, "truncated"])
    return payload[: max(1, len(payload) * 2 // 3)] if name == "truncated" else MALFORMED[name]
