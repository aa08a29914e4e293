"""Checks of virtual meters: expressions that are sums of known energy, no circles, nothing that counts twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from emsd.plant.draft import Draft
from emsd.plant.expression import ExpressionFault, factors_of
from emsd.plant.source import Finding, list_or_hint
from emsd.plant.tree import ancestors
from emsd.plant.virtual_meters import VirtualMeter

__all__ = ["check_virtual_meters"]


def check_virtual_meters(draft: Draft) -> Iterator[Finding]:
    """Find expressions that cannot be computed, and places in the tree that would count energy twice."""
    meters = draft.keys("meters")
    yield from _shared_keys(draft, meters)
    yield from _parents(draft)
    factors: dict[str, Mapping[str, float]] = {}
    for index, each in draft.virtual_meters.items():
        where = ("virtual_meters", index, "expression")
        try:
            found = factors_of(each.expression)
        except ExpressionFault as fault:
            yield Finding(where, f"{draft.source.shown(where, each.expression)}{fault}", fault.cure)
            continue
        wrong = list(_inputs(draft, index, each, found))
        yield from wrong
        if not wrong and each.key not in meters:
            factors[each.key] = found
    loops = {key: loop for key in factors if len(loop := _loop(key, factors)) > 1}
    flat = {} if loops else _multiplied_out(factors)
    for index, each in draft.virtual_meters.items():
        if each.key in loops:
            problem = f"{each.key} is made of itself: {' > '.join(loops[each.key])}"
            yield Finding(("virtual_meters", index, "expression"), problem, "let one of them name other meters")
        elif each.key in flat:
            yield from _place(draft, index, each, flat)


def _parents(draft: Draft) -> Iterator[Finding]:
    meters = {meter.key: meter for meter in draft.meters.values()}
    for index, each in draft.virtual_meters.items():
        parent = meters.get(each.parent) if each.parent else None
        profile = draft.profile_of(parent) if parent else None
        if parent is not None and profile is not None and not profile.measures_energy:
            problem = f"{parent.key} measures no energy: profile {parent.profile} has no energy counter and no power"
            where = ("virtual_meters", index, "parent")
            yield Finding(where, problem, "name the energy meter upstream, or leave it out")


def _shared_keys(draft: Draft, meters: Mapping[str, int]) -> Iterator[Finding]:
    for index, each in draft.virtual_meters.items():
        if each.key in meters:
            place = draft.source.place(("meters", meters[each.key], "key"))
            where = ("virtual_meters", index, "key")
            problem = f"{draft.source.shown(where, each.key)}is taken by the meter at {place.file}:{place.line}"
            yield Finding(where, problem, "give each its own key")


def _inputs(draft: Draft, index: int, each: VirtualMeter, factors: Mapping[str, float]) -> Iterator[Finding]:
    where = ("virtual_meters", index, "expression")
    meters = {meter.key: meter for meter in draft.meters.values()}
    known = {**draft.keys("meters"), **draft.keys("virtual_meters")}
    for key in factors:
        profile = draft.profile_of(meters[key]) if key in meters else None
        if key not in known and draft.surroundings.all_meters_read:
            is_glued = any(key.startswith(f"{each}-") for each in known)
            cure = "put blanks around the minus between two meters" if is_glued else list_or_hint(key, known, "meters")
            yield Finding(where, f"names {key}, which is not among the meters", cure)
        elif profile is not None and not profile.measures_energy:
            problem = f"names {key}, which measures no energy: profile {profile.profile} has neither counter nor power"
            yield Finding(where, problem, f"leave it out of {each.key}, or name the meter of its feeder")


def _loop(start: str, factors: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the way from a virtual meter through inputs back to itself, both ends included; else the start alone."""
    came_from: dict[str, str] = {}
    waiting = [start]
    while waiting:
        key = waiting.pop()
        for below in factors.get(key, ()):
            if below == start:
                way = [start, key]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return way[::-1]
            if below not in came_from:
                came_from[below] = key
                waiting.append(below)
    return [start]


def _multiplied_out(factors: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return for every virtual meter the factor of each meter in it, on whatever level; wants no circles."""
    flat: dict[str, dict[str, float]] = {}

    def of(key: str) -> dict[str, float]:
        if key not in flat:
            found: dict[str, float] = {}
            for below, factor in factors.get(key, {}).items():
                for name, inner in {below: 1.0, **of(below)}.items():
                    found[name] = found.get(name, 0.0) + factor * inner
            flat[key] = found
        return flat[key]

    for key in factors:
        of(key)
    return flat


def _place(draft: Draft, index: int, each: VirtualMeter, flat: Mapping[str, Mapping[str, float]]) -> Iterator[Finding]:
    """Find a virtual meter that contains what hangs below it, or counts what is counted beside it already."""
    parents: dict[str, str | None] = {meter.key: meter.parent for meter in draft.meters.values()}
    parents |= {other.key: other.parent for other in draft.virtual_meters.values()}
    where = ("virtual_meters", index)
    for key in flat[each.key]:
        if each.key in ancestors(key, parents):
            problem = f"names {key}, which lies below {each.key} itself"
            cure = f"give {key} another parent, or take it out of the expression"
            yield Finding((*where, "expression"), problem, cure)
            return
    if not each.counts:
        return
    views = {other.key for other in draft.virtual_meters.values() if not other.counts}
    above = set(_upstream(each.key, parents, flat))
    twice = [key for key, factor in flat[each.key].items() if factor > 0 and key not in above | views]
    if twice:
        problem = f"true would count {', '.join(twice)} twice: a virtual meter takes energy only from what is above it"
        yield Finding((*where, "counts"), problem, f"let {twice[0]} be upstream of it by parent, or leave counts out")


def _upstream(key: str, parents: Mapping[str, str | None], flat: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Yield the meters upstream of one: its parents, and what virtual ones among them are made of."""
    for above in ancestors(key, parents):
        yield above
        for source, factor in flat.get(above, {}).items():
            if factor > 0:
                yield source
                yield from ancestors(source, parents)
