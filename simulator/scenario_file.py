"""Scenarios read from a YAML file, with all its faults at once.

scenarios.yaml:12: scenarios[3].amount 0.9 is not 0..0.5; air_leak is given as share of the installed air
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emsd.errors import PlantError
from emsd.plant.models import AssetKind, Plant
from emsd.plant.source import Finding, Source, Where, in_order, list_or_hint
from emsd.plant.translate import translate
from emsd.plant.yaml_source import read_yaml
from simulator.physics.scenarios import KINDS, Scenario, ScenarioKind

__all__ = ["ScenarioFile", "load_scenarios"]


class ScenarioFile(BaseModel):
    """A file of scenarios."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenarios: tuple[Scenario, ...] = Field(description="What changes in the plant, and since when.")


_AIR: Final = frozenset(
    {ScenarioKind.AIR_LEAK, ScenarioKind.AIR_SETPOINT, ScenarioKind.LEAK_REPAIR},
)
_COLD: Final = frozenset({ScenarioKind.CHILLED_WATER_SETPOINT, ScenarioKind.STUCK_VALVE, ScenarioKind.FREE_COOLING})


def load_scenarios(path: Path, plant: Plant) -> tuple[Scenario, ...]:
    """Return the scenarios of a file, in its order, each of which can happen in the plant.

    Raises:
        PlantError: all faults of the file, in order of line.
    """
    source, findings = read_yaml(path)
    found = [*findings, *_precise(source, plant)]
    wheres = {finding.where for finding in found}
    read: tuple[Scenario, ...] = ()
    try:
        read = ScenarioFile.model_validate(source.data).scenarios
    except ValidationError as error:
        # Of an entry that was found wrong in a field, the model's word about the whole entry says it again.
        found += [
            finding
            for finding in translate(error, source, ScenarioFile)
            if not any(where[: len(finding.where)] == finding.where for where in wheres)
        ]
    if found:
        raise PlantError(in_order(source.fault(finding) for finding in found))
    return read


def _precise(source: Source, plant: Plant) -> Iterator[Finding]:
    """Find what is wrong with fields that are right by themselves: with each other, or with the plant."""
    entries = source.data.get("scenarios") if isinstance(source.data, dict) else None
    first: dict[str, int] = {}
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if not isinstance(entry, dict):
            continue
        where: Where = ("scenarios", index)
        yield from _times(entry, where)
        key = entry.get("key")
        if isinstance(key, str) and first.setdefault(key, index) != index:
            line = source.place(("scenarios", first[key], "key")).line
            yield Finding((*where, "key"), f'"{key}" stands in line {line} too', "give each scenario its own key")
        kind = entry.get("kind")
        if isinstance(kind, str) and kind in KINDS:
            yield from _amount(ScenarioKind(kind), entry.get("amount"), where)
            yield from _asset(ScenarioKind(kind), entry.get("asset"), where, plant)


def _times(entry: dict[str, Any], where: Where) -> Iterator[Finding]:
    for name in ("start", "end"):
        value = entry.get(name)
        if isinstance(value, date) and getattr(value, "tzinfo", None) is None:
            problem = f"{value.isoformat()} has no offset from UTC"
            yield Finding((*where, name), problem, "write such as 2026-01-31T08:00:00+08:00")
    start, end = entry.get("start"), entry.get("end")
    aware = [each for each in (start, end) if isinstance(each, datetime) and each.tzinfo is not None]
    if len(aware) == 2 and aware[1] <= aware[0]:
        yield Finding((*where, "end"), f"{aware[1].isoformat()} is not after its start", "correct one of them")


def _amount(kind: ScenarioKind, amount: object, where: Where) -> Iterator[Finding]:
    traits = KINDS[kind]
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        return
    if not traits.least <= amount <= traits.most:
        problem = f"{amount:g} is not {traits.least:g}..{traits.most:g}"
        yield Finding((*where, "amount"), problem, f"{kind} is given as {traits.unit}")


def _asset(kind: ScenarioKind, asset: object, where: Where, plant: Plant) -> Iterator[Finding]:
    kinds = KINDS[kind].asset_kinds
    needed = kinds or ((AssetKind.COMPRESSOR,) if kind in _AIR else (AssetKind.CHILLER,) if kind in _COLD else ())
    able = [each.key for each in plant.assets if each.kind in needed]
    names = " or ".join(each.value for each in needed)
    if not able:
        yield Finding((*where, "kind"), f"{kind} needs a {names}, and the plant has none", "leave the scenario out")
    elif asset is None:
        return
    elif not kinds:
        yield Finding((*where, "asset"), f"{asset} stands beside {kind}, which concerns the site", "remove the line")
    elif asset not in able:
        known = {each.key: each.kind.value for each in plant.assets}
        is_other = isinstance(asset, str) and asset in known
        problem = f"{asset} is a {known[str(asset)]}, no {names}" if is_other else f'"{asset}" is not an asset'
        cure = (
            f"{kind} may concern {', '.join(able)}" if is_other else list_or_hint(str(asset), able, f"{names} assets")
        )
        yield Finding((*where, "asset"), problem, cure)
