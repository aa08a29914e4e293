"""The book of one meter: its running totals, its state, and what is said of a change."""

from __future__ import annotations

from typing import Final

import structlog

from emsd.collector import MeterHealth, MeterState
from emsd.errors import CollectError, DeviceException, Mismatch, NoReply, Unreachable, WrongDevice

__all__ = ["GATEWAY_EXCEPTIONS", "Book"]

log = structlog.get_logger(__name__)

GATEWAY_EXCEPTIONS: Final = frozenset({10, 11})
"""The gateway speaks for the device, which does not answer (Modbus Application Protocol V1.1b3, section 7)."""

_QUIET: Final = frozenset({MeterState.OK, MeterState.RESTING})


class Book:
    """Keeps the health of the meter `key`."""

    def __init__(self, key: str, meter_id: int) -> None:
        self.health = MeterHealth(meter_id)
        self._key = key

    def error(self, error: CollectError, *, resting: bool) -> None:
        """Count a failure; the silence of a device that may rest is none."""
        self.health.last_error = str(error)
        if not (resting and _is_silence(error)):
            self.health.errors[_kind(error)] += 1

    def frozen(self, equal_s: float) -> None:
        """Count a poll whose values are not believed because they have been equal for `equal_s` [s] under load."""
        self.health.errors["frozen"] += 1
        self.health.last_error = (
            f"meter {self._key}: its answers have been equal bit for bit for {equal_s:.0f} s under load, so their "
            "values are not taken; check the device behind the gateway, or frozen_after_s of its profile"
        )

    def makes_no_sense(self) -> None:
        """Note that a poll was answered with values none of which can be true."""
        self.health.errors["no_sense"] += 1
        self.health.last_error = (
            f"meter {self._key}: it answers, but none of its values can be true; "
            "check profile, unit id and word order with `emsd probe`"
        )

    def skipped(self, ticks: int) -> None:
        """Count ticks that were not served."""
        self.health.polls_expected += ticks
        self.health.polls_skipped += ticks

    def failed(self) -> None:
        """Count a poll that nobody answered."""
        self.health.polls_expected += 1
        self.health.polls_failed += 1

    def answered(self, first_answer_us: int, took_s: float, *, complete: bool, believed: bool = True) -> None:
        """Count a poll that was answered at `first_answer_us` [us] and took so long [s]."""
        self.health.polls_expected += 1
        if believed:
            self.health.last_ok_us = first_answer_us
        if complete:
            self.health.polls_ok += 1
            self.health.round_trip_s = took_s
        else:
            self.health.polls_partial += 1

    def state(self, state: MeterState) -> None:
        """Take over a state, and say so when it is another than before."""
        before, self.health.state = self.health.state, state
        if state is before:
            return
        if state in _QUIET:
            log.info("meter_state", meter=self._key, state=state.value, was=before.value)
        else:
            error = self.health.last_error
            log.warning("meter_state", meter=self._key, state=state.value, was=before.value, error=error)


def _is_silence(error: CollectError) -> bool:
    if isinstance(error, DeviceException):
        return error.code in GATEWAY_EXCEPTIONS
    return isinstance(error, NoReply | Unreachable)


def _kind(error: CollectError) -> str:
    if isinstance(error, DeviceException):
        return f"exception_{error.code}"
    for kind, name in _KINDS.items():
        if isinstance(error, kind):
            return name
    return "not_sunspec"


_KINDS: Final[dict[type[CollectError], str]] = {
    Unreachable: "unreachable",
    NoReply: "no_reply",
    Mismatch: "mismatch",
    WrongDevice: "wrong_device",
}
