"""What a profile comes to when it is used: its plan of reads, compiled like that of a meter, as data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from collectors.modbus.load import due_rates
from collectors.modbus.reads import Reads, Request
from collectors.mqtt.meter import MqttMeter
from collectors.sparkplug.host import SparkplugMeter
from emsd.collector import BoundMeter
from emsd.plant.models import Meter
from emsd.plant.profile import Profile
from emsd.quantities import BY_NAME, Kind

__all__ = ["POLL_INTERVAL_S", "Facts", "document_of", "facts_of", "summary_of"]

POLL_INTERVAL_S: Final = 1.0
"""Interval that a plan is shown for [s]: that of a meter whose description names none."""

_TOPICS: Final = {"mqtt": "device/0", "sparkplug": "group/node/device"}


@dataclass(frozen=True, slots=True)
class Facts:
    """A profile that can be used, with the requests of a poll at which every rate is due; none for what publishes."""

    profile: Profile
    file: Path
    requests: tuple[Request, ...] = ()
    registers_wanted: int = 0
    requests_per_s: float = 0.0
    walks: bool = False
    """Whether the places of its points are looked for in the device, so that blocks may be joined or missing there."""

    @property
    def registers_read(self) -> int:
        """Registers of all requests."""
        return sum(request.block.count for request in self.requests)


def facts_of(profile: Profile, file: Path) -> Facts:
    """Plan and compile a profile as its collector would.

    Raises:
        ValueError: it cannot be used as it is written.
    """
    if profile.modbus is None:
        _compile(profile)
        return Facts(profile, file)
    reads = Reads(profile.modbus, POLL_INTERVAL_S, None)
    plan = reads.efficiency()
    shares = due_rates(POLL_INTERVAL_S, reads.rates_s)
    per_tick = sum(share * len(reads.requests(rates_s)) for rates_s, share in shares.items())
    return Facts(
        profile=profile,
        file=file,
        requests=reads.requests(reads.rates_s),
        registers_wanted=plan.registers_wanted,
        requests_per_s=per_tick / POLL_INTERVAL_S,
        walks=reads.walks,
    )


def summary_of(profile: Profile, file: Path) -> dict[str, Any]:
    """Return one line of the list of profiles, for machines."""
    return {
        "profile": profile.profile,
        "kind": profile.kind,
        "manufacturer": profile.manufacturer,
        "model": profile.model,
        "protocol": protocol_of(profile),
        "quantities": list(profile.quantities),
        "counters": _counters(profile.quantities),
        "unproven": len(profile.unproven),
        "file": str(file),
    }


def document_of(facts: Facts) -> dict[str, Any]:
    """Return everything about a profile, for machines."""
    return {
        **summary_of(facts.profile, facts.file),
        "plan": {
            "poll_interval_s": POLL_INTERVAL_S,
            "places_are_found_in_the_device": facts.walks,
            "requests": len(facts.requests),
            "requests_per_s": round(facts.requests_per_s, 6),
            "registers_wanted": facts.registers_wanted,
            "registers_read": facts.registers_read,
            "blocks": [
                {
                    "table": request.block.table.value,
                    "address": request.block.address,
                    "registers": request.block.count,
                    "quantities": sorted(request.names),
                }
                for request in facts.requests
            ],
        },
        "definition": facts.profile.model_dump(mode="json", exclude_unset=True),
    }


def protocol_of(profile: Profile) -> str:
    """Return which of its maps a profile has."""
    return "modbus" if profile.modbus else "mqtt" if profile.mqtt else "sparkplug"


def _counters(names: Iterable[str]) -> list[str]:
    return [name for name in names if BY_NAME[name].kind is Kind.COUNTER]


def _compile(profile: Profile) -> None:
    topic = _TOPICS[protocol_of(profile)]
    meter = Meter(key="m", name="m", asset="a", profile=profile.profile, connection="c", topic=topic)
    bound = BoundMeter(0, meter, profile)
    if profile.mqtt:
        MqttMeter(bound)
    else:
        SparkplugMeter(bound)
