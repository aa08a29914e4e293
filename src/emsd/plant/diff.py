"""What differs between two versions of a plant, entry by entry, for people who read a log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, SecretBytes, SecretStr

from emsd.plant.loader import LoadedPlant

__all__ = ["Change", "differences"]

_COLLECTIONS: Final = {
    "area": "areas",
    "asset": "assets",
    "connection": "connections",
    "meter": "meters",
    "virtual meter": "virtual_meters",
    "alarm": "alarms",
    "notification target": "notification_targets",
    "tariff": "tariffs",
}
_SECRET: Final = "(secret)"  # noqa: S105 - what is shown instead of one


@dataclass(frozen=True, slots=True)
class Change:
    """One entry that was added, removed or changed."""

    what: Literal["added", "removed", "changed"]
    kind: str
    """What the entry is: meter, connection, profile, ..."""
    key: str
    fields: tuple[str, ...] = ()
    """`field: before -> after`, for a changed entry; secrets are not shown."""

    def __str__(self) -> str:
        entry = f"{self.kind} {self.key}".rstrip()  # a plant has one site, which needs no key
        return f"{entry} {self.what}" + (f" ({'; '.join(self.fields)})" if self.fields else "")


def differences(before: LoadedPlant, after: LoadedPlant) -> tuple[Change, ...]:
    """Return what changed from one plant to another, in the order of the document.

    Profiles count where a meter of either plant uses them.
    """
    return tuple(_changes(before, after))


def _changes(before: LoadedPlant, after: LoadedPlant) -> Iterator[Change]:
    yield from _entries("site", {"": before.plant.site}, {"": after.plant.site})
    factors = (_factors(before), _factors(after))
    yield from _entries("carbon factor", *factors)
    yield from _entries("carbon ledger", {"": before.plant.carbon}, {"": after.plant.carbon})
    for kind, name in _COLLECTIONS.items():
        yield from _entries(kind, _by_key(before, name), _by_key(after, name))
    yield from _entries("production", _production(before), _production(after))
    yield from _entries("product", _products(before), _products(after))
    yield from _entries("profile", _profiles(before), _profiles(after))


def _entries(kind: str, before: Mapping[str, BaseModel], after: Mapping[str, BaseModel]) -> Iterator[Change]:
    for key in (each for each in after if each not in before):
        yield Change("added", kind, key)
    for key in (each for each in before if each not in after):
        yield Change("removed", kind, key)
    for key, now in after.items():
        then = before.get(key)
        if then is not None and then != now:
            yield Change("changed", kind, key, tuple(_fields(then, now)))


def _fields(then: BaseModel, now: BaseModel) -> Iterator[str]:
    names = dict.fromkeys((*type(then).model_fields, *type(now).model_fields))
    for name in names:
        old, new = getattr(then, name, None), getattr(now, name, None)
        if old == new:
            continue
        if isinstance(old, BaseModel) and isinstance(new, BaseModel):
            yield from (f"{name}.{inner}" for inner in _fields(old, new))
        elif isinstance(old, BaseModel | tuple) or isinstance(new, BaseModel | tuple):
            yield name if old is not None and new is not None else f"{name} {'added' if old is None else 'removed'}"
        else:
            yield f"{name}: {_shown(old)} -> {_shown(new)}"


def _shown(value: object) -> str:
    return _SECRET if isinstance(value, SecretStr | SecretBytes) else "absent" if value is None else str(value)


def _by_key(loaded: LoadedPlant, name: str) -> dict[str, BaseModel]:
    return {entry.key: entry for entry in getattr(loaded.plant, name)}


def _factors(loaded: LoadedPlant) -> dict[str, BaseModel]:
    return {f"{each.region} {each.method} from {each.valid_from}": each for each in loaded.plant.carbon_factors}


def _production(loaded: LoadedPlant) -> dict[str, BaseModel]:
    production = loaded.plant.production
    return {} if production is None else {"": production.model_copy(update={"products": ()})}


def _products(loaded: LoadedPlant) -> dict[str, BaseModel]:
    return {each.key: each for each in (loaded.plant.production.products if loaded.plant.production else ())}


def _profiles(loaded: LoadedPlant) -> dict[str, BaseModel]:
    return {meter.profile: loaded.profile_of(meter) for meter in loaded.plant.meters}
