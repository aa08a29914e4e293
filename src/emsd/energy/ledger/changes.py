"""What is different between two ledgers: inputs and figures, each change with what it was and what it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from emsd.energy.ledger.exact import decimal_text
from emsd.energy.ledger.inputs import FactorColumn, LedgerInputs, MeterColumn
from emsd.energy.ledger.results import Figures, LedgerResults

__all__ = ["Change", "input_changes", "result_changes"]

_SAME_KWH: Final = Decimal("0.000001")
"""Sums of binary fractions may differ this little when they are added up in another order."""
_TEXT_FIELDS: Final = ("name", "time_zone", "carbon_region", "residual_region")


class Change(NamedTuple):
    """Something that is not as it was; None where it was not there, or is not there any more."""

    what: str
    before: str | None
    after: str | None


def input_changes(before: LedgerInputs, after: LedgerInputs) -> list[Change]:
    """Return what differs between the inputs of two ledgers: settings, energy, factors, instruments, activities."""
    return [
        *_settings(before, after),
        *_energy(before, after),
        *_factors("location-based factor", before.location, after.location),
        *_factors("supplier's factor", before.supplier, after.supplier),
        *_factors("residual factor", before.residual, after.residual),
        *_entries(
            {f"instrument {each.registry} {each.serial}": each.model_dump(mode="json") for each in before.instruments},
            {f"instrument {each.registry} {each.serial}": each.model_dump(mode="json") for each in after.instruments},
        ),
        *_entries(
            {f"activity {each.activity.reference}": each.model_dump(mode="json") for each in before.activities},
            {f"activity {each.activity.reference}": each.model_dump(mode="json") for each in after.activities},
        ),
    ]


def result_changes(before: LedgerResults, after: LedgerResults) -> list[Change]:
    """Return which figures differ, of the whole period and of each month."""
    changes = list(_figures(before.total, after.total))
    months = {each.name: each for each in before.months}
    for month in after.months:
        earlier = months.pop(month.name, None)
        if earlier is None:
            changes.append(Change(month.name, None, "is new"))
        else:
            changes += _figures(earlier, month)
    changes += [Change(name, "was there", None) for name in months]
    return changes


def _settings(before: LedgerInputs, after: LedgerInputs) -> Iterator[Change]:
    pairs = [
        *((f"site {name}", getattr(before.site, name), getattr(after.site, name)) for name in _TEXT_FIELDS),
        ("period", _period(before), _period(after)),
        ("GWP set", before.gwp_set, after.gwp_set),
        ("matching", before.matching, after.matching),
    ]
    for what, was, is_ in pairs:
        if was != is_:
            yield Change(what, str(was), str(is_))


def _period(inputs: LedgerInputs) -> str:
    return f"{inputs.period_from.isoformat()} to {inputs.period_to.isoformat()}"


def _energy(before: LedgerInputs, after: LedgerInputs) -> Iterator[Change]:
    earlier = {(meter.key, meter.role): meter for meter in before.meters}
    later = {(meter.key, meter.role): meter for meter in after.meters}
    for key, role in sorted(earlier.keys() | later.keys()):
        name = f"meter {key} ({role})"
        was, is_ = earlier.get((key, role)), later.get((key, role))
        if was is None or is_ is None:
            yield Change(name, None if was is None else "was counted", None if is_ is None else "is counted")
            continue
        for direction in ("import_kwh", "export_kwh", "estimated_import_kwh", "estimated_export_kwh"):
            sums, sums_now = _monthly(before, was, direction), _monthly(after, is_, direction)
            for month in sorted(sums.keys() | sums_now.keys()):
                one, other = sums.get(month), sums_now.get(month)
                if not _same(one, other):
                    yield Change(f"{name} {month} {direction}", _text(one), _text(other))
        if was.versions != is_.versions:
            yield Change(f"{name} computation versions", str(list(was.versions)), str(list(is_.versions)))


def _monthly(inputs: LedgerInputs, meter: MeterColumn, direction: str) -> dict[str, Decimal | None]:
    values: Sequence[Decimal | None] = getattr(meter, direction)
    return {month.name: value for month, value in zip(inputs.months, values, strict=True)}


def _same(one: Decimal | None, other: Decimal | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= _SAME_KWH


def _factors(name: str, before: FactorColumn, after: FactorColumn) -> Iterator[Change]:
    def named(column: FactorColumn) -> dict[str, Mapping[str, Any]]:
        return {
            f"{name} of {use.region} from {use.valid_from.isoformat()} ({use.resolution}, {use.source})":
                use.model_dump(mode="json")
            for use in column.uses
        }  # fmt: skip

    yield from _entries(named(before), named(after))
    was, is_ = before.kg_per_kwh, after.kg_per_kwh
    if before.uses == after.uses and was != is_:
        yield Change(f"{name}: the slots that it applies to", f"{len(was)} slots", f"{len(is_)} slots")


def _entries(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> Iterator[Change]:
    for name in sorted(before.keys() | after.keys()):
        was, is_ = before.get(name), after.get(name)
        if was is None or is_ is None:
            yield Change(name, None if was is None else "was there", None if is_ is None else "is new")
            continue
        yield from _fields(name, was, is_)


def _fields(name: str, was: Mapping[str, Any], is_: Mapping[str, Any]) -> Iterator[Change]:
    for field in sorted(was.keys() | is_.keys()):
        one, other = was.get(field), is_.get(field)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _fields(f"{name} {field}", one, other)
        else:
            yield Change(f"{name} {field}", _text(one), _text(other))


def _figures(before: Figures, after: Figures) -> Iterator[Change]:
    for field in Figures.model_fields:
        one, other = getattr(before, field), getattr(after, field)
        if one != other:
            yield Change(f"{after.name} {field}", _text(one), _text(other))


def _text(value: object) -> str | None:
    if value is None:
        return None
    return decimal_text(value) if isinstance(value, Decimal) else str(value)
