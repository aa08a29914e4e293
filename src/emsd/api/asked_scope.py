"""The scope that a question is about: the site, or a part of it by its key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from fastapi import Depends, Query

from emsd.api.dependencies import CurrentConfiguration
from emsd.api.parameters import refuse
from emsd.api.problems import raise_unknown
from emsd.store.plant_view import PlantView
from emsd.store.scopes import ScopeKind, ScopeMeters, keys_of_scope, meters_of_scope

__all__ = ["AskedScope", "ScopeAsked"]


@dataclass(frozen=True, slots=True)
class AskedScope:
    """A scope that exists, and its meters."""

    kind: ScopeKind
    key: str | None
    plant: PlantView
    meters: ScopeMeters

    @property
    def meter_keys(self) -> list[str]:
        """Keys of the meters that are added up."""
        return [self.plant.meters[each].key for each in self.meters.top]


async def _asked(
    configuration: CurrentConfiguration,
    scope: Annotated[ScopeKind, Query(description="Of what.")] = "site",
    key: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Key of the area, asset or meter, name of the stage, or kind of asset; none for the site.",
            examples=["fab"],
        ),
    ] = None,
) -> AskedScope:
    plant = configuration.plant
    if scope == "site":
        if key is not None:
            raise refuse("query.key", "the site has no key", "leave it out")
    elif key is None:
        raise refuse("query.key", f"is missing for scope {scope}", "add it")
    elif key not in (known := keys_of_scope(plant, scope)):
        raise_unknown(scope.replace("_", " "), key, known)
    return AskedScope(scope, key, plant, meters_of_scope(plant, scope, key))


ScopeAsked: TypeAlias = Annotated[AskedScope, Depends(_asked)]
