"""Checks of the site."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import available_timezones

from emsd.plant.draft import Draft
from emsd.plant.source import Finding, did_you_mean, value_text

__all__ = ["check_site"]


def check_site(draft: Draft) -> Iterator[Finding]:
    """Find a time zone that does not exist."""
    if draft.site is None:
        return
    zone, zones = draft.site.time_zone, available_timezones()
    if zone not in zones:
        meant = did_you_mean(zone, zones, likeness=0.8)
        hint = f'did you mean "{meant}"?' if meant else "write an IANA name, such as Asia/Shanghai or Europe/Berlin"
        where = ("site", "time_zone")
        yield Finding(where, f"{draft.source.shown(where, zone).strip() or value_text(zone)} is not a time zone", hint)
