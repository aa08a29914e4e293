"""Everything about a plant that its models cannot say; all faults and warnings of a document at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

from pydantic import ValidationError

from emsd.errors import Fault
from emsd.plant.check_alarms import check_alarms
from emsd.plant.check_carbon import check_carbon
from emsd.plant.check_connections import check_connections, unknown_kinds
from emsd.plant.check_kpi import check_kpi, check_production
from emsd.plant.check_meters import check_meters
from emsd.plant.check_references import check_references
from emsd.plant.check_site import check_site
from emsd.plant.check_tariff import check_tariffs
from emsd.plant.check_virtual_meters import check_virtual_meters
from emsd.plant.draft import Draft, Surroundings, understand
from emsd.plant.models import Plant
from emsd.plant.source import Finding, Source, Where, in_order
from emsd.plant.translate import translate

__all__ = ["validate"]

_CHECKS: Final[tuple[Callable[[Draft], Iterator[Finding]], ...]] = (
    check_site,
    check_references,
    check_connections,
    check_meters,
    check_virtual_meters,
    check_alarms,
    check_carbon,
    check_tariffs,
    check_kpi,
    check_production,
)

_SWITCHES: Final = frozenset({("verify",), ("counts",), ("with_adjoining_weekends",)})
"""Ends of the paths of fields that are true or false."""


def validate(
    source: Source, surroundings: Surroundings, read_findings: Collection[Finding]
) -> tuple[Plant | None, tuple[Fault, ...]]:
    """Return the plant that `source` describes, or None and all its faults in order of file and line.

    `read_findings` are those of reading the files; what was not read right is not complained about a second time.
    """
    found = _Findings(read_findings)
    found.extend(_yes_or_no(source))
    foreign = list(unknown_kinds(Draft(source, surroundings=surroundings)))
    found.extend(foreign)
    plant: Plant | None = None
    try:
        plant = Plant.model_validate(source.data)
    except ValidationError as error:
        entries = {finding.where[:2] for finding in foreign}
        found.extend(each for each in translate(error, source, Plant) if each.where[:2] not in entries)
    draft = understand(source, surroundings, plant, found.kept)
    for check in _CHECKS:
        found.extend(check(draft))
    faults = in_order(source.fault(finding) for finding in found.kept)
    return (None if faults else plant), faults


class _Findings:
    """Findings so far; of several at one path the first stays, which is closest to the cause."""

    def __init__(self, first: Collection[Finding]) -> None:
        self.kept = list(first)
        self._wheres = {finding.where for finding in first}

    def extend(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            if not any(finding.where[:length] in self._wheres for length in range(1, len(finding.where) + 1)):
                self.kept.append(finding)
                self._wheres.add(finding.where)


def _yes_or_no(source: Source) -> Iterator[Finding]:
    """Find true and false where a number or text belongs: pydantic would take them for 1 and 0."""
    for where in source.places:
        if "options" not in where and where[-1:] not in _SWITCHES and isinstance(_value(source.data, where), bool):
            value = source.shown(where, _value(source.data, where))
            yield Finding(where, f"{value}is not a value of this field", "put it in quotes if it is meant as text")


def _value(data: Any, where: Where) -> Any:
    for part in where:
        try:
            data = data[part]
        except (LookupError, TypeError):
            return None
    return data
