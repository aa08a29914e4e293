"""The health of meters, as the messages of their edge nodes change it."""

from __future__ import annotations

from typing import Final

import structlog

from collectors.sparkplug.host import Effect, Share, SparkplugMeter
from emsd.collector import MeterState

__all__ = ["count", "note_lives", "note_not_durable", "note_unreachable"]

log = structlog.get_logger(__name__)

_ERRORS: Final = {
    "sequence_gap": "a message of edge node {node} is missing; its birth was asked for again",
    "unknown_metric": "edge node {node} sends metrics that no known birth explains; its birth was asked for again",
}


def count(effect: Effect, received_us: int, took_s: float) -> None:
    """Count a message for every meter that it concerns, once its readings are durable.

    A gap alone is an error, but no poll: who knows whom the missing message concerned.
    """
    for share in effect.shares:
        health, mapped = share.meter.health, share.mapped
        kinds = (*share.errors, *(("bad_payload",) if mapped.problem else ()))
        health.errors.update(kinds)
        health.values_rejected += mapped.rejected
        if not mapped.readings and kinds == ("sequence_gap",):
            continue
        health.polls_expected += 1
        if not mapped.readings:
            health.polls_failed += 1
        elif kinds:
            health.polls_partial += 1
        else:
            health.polls_ok += 1
        if mapped.readings:
            health.last_ok_us = received_us
            health.round_trip_s = took_s
        if kinds:
            health.last_error = _sentence(share, kinds[0])
        if share.meter.offline_since is None or effect.order > share.meter.offline_since:
            share.meter.offline_since = None  # who speaks is there
            _set_state(share.meter, MeterState.DEGRADED if kinds else MeterState.OK)


def note_lives(effect: Effect) -> None:
    """Take note of who is gone, and of devices that have not been born since their edge node was."""
    for meter in effect.fallen:
        meter.offline_since = effect.order
        meter.health.errors["offline"] += 1
        meter.health.last_error = effect.news
        _set_state(meter, MeterState.DOWN)
    for meter in effect.unsettled:
        if meter.health.state in {MeterState.OK, MeterState.DEGRADED}:
            _set_state(meter, MeterState.STARTING)


def note_not_durable(effect: Effect, error: str) -> None:
    """Count a message that was left to the broker; it comes again."""
    for share in effect.shares:
        health = share.meter.health
        health.polls_expected += 1
        health.polls_failed += 1
        health.errors["not_durable"] += 1
        health.last_error = error
        if share.meter.offline_since is None:
            _set_state(share.meter, MeterState.DEGRADED)


def note_unreachable(meter: SparkplugMeter, error: str) -> None:
    """The broker is gone, and with it every meter."""
    meter.health.errors["unreachable"] += 1
    meter.health.last_error = error
    meter.health.state = MeterState.DOWN


def _sentence(share: Share, kind: str) -> str:
    if kind in _ERRORS:
        return _ERRORS[kind].format(node=share.meter.node)
    return share.mapped.problem or kind


def _set_state(meter: SparkplugMeter, state: MeterState) -> None:
    before, meter.health.state = meter.health.state, state
    if state is not before:
        error = None if state in {MeterState.OK, MeterState.STARTING} else meter.health.last_error
        log.info("meter_state", meter=meter.key, state=state.value, was=before.value, error=error)
