"""What stands in the column `detail` of meter_event, and the event that it means.

    swap, reset      {"final": {"import_kwh": 1234.5}, "initial": {"import_kwh": 0}, "serial": "4712",
                      "first_reading_at": "2026-03-29T12:00:07+00:00"}; each part only where it is known
    ct_ratio         {"factor": 5.0}
    manual_reading   {"reading": {"import_kwh": 1234.5, "export_kwh": 0.0}}
    hold_out         {"until": "...", "counter": "import_kwh", "low_kwh": 100.0, "high_kwh": 200.0}

A swap that a device told of itself says {"old": {..., "last_seen": "..."}, "new": {"serial": ...}} instead.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from emsd.energy.events import CounterPair, EventKind, MeterEvent
from emsd.readings import instant_us, to_datetime

__all__ = ["detail_of", "event_from"]


def detail_of(event: MeterEvent) -> str:
    """Return the JSON of what an event says beside its kind and time."""
    detail: dict[str, Any] = {
        name: pair
        for name, each in (("final", event.final), ("initial", event.initial), ("reading", event.reading))
        if (pair := _pair_document(each))
    }
    facts = (("serial", event.serial), ("factor", event.factor), ("counter", event.counter))
    detail |= {name: value for name, value in facts if value is not None}
    limits = (("low_kwh", event.low_kwh), ("high_kwh", event.high_kwh))
    detail |= {name: limit for name, limit in limits if math.isfinite(limit)}
    for name, time_us in (("first_reading_at", event.first_us), ("until", event.until_us)):
        if time_us is not None:
            detail[name] = to_datetime(time_us).isoformat()
    return json.dumps(detail, sort_keys=True)


def event_from(kind: str, occurred_at: datetime, detail: Mapping[str, Any]) -> MeterEvent:
    """Return the event that a row means.

    Raises:
        ValueError: it is none that this version can read.
    """
    old, new = detail.get("old", {}), detail.get("new", {})
    return MeterEvent(
        kind=EventKind(kind),
        at_us=instant_us(occurred_at),
        final=_pair(detail.get("final")),
        initial=_pair(detail.get("initial")),
        reading=_pair(detail.get("reading")),
        factor=detail.get("factor"),
        serial=detail.get("serial", new.get("serial")),
        since_us=_instant(old.get("last_seen")),
        first_us=_instant(detail.get("first_reading_at")),
        until_us=_instant(detail.get("until")),
        counter=detail.get("counter"),
        low_kwh=detail.get("low_kwh", -math.inf),
        high_kwh=detail.get("high_kwh", math.inf),
    )


def _pair_document(pair: CounterPair) -> dict[str, float]:
    both = {"import_kwh": pair.import_kwh, "export_kwh": pair.export_kwh}
    return {name: value for name, value in both.items() if value is not None}


def _pair(document: Mapping[str, float] | None) -> CounterPair:
    return CounterPair() if document is None else CounterPair(document.get("import_kwh"), document.get("export_kwh"))


def _instant(text: str | None) -> int | None:
    return None if text is None else instant_us(datetime.fromisoformat(text))
