"""Profiles of device models, found in installed packages and in a plant's own folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import ValidationError

from emsd.errors import Fault, PlantError
from emsd.plant.profile import Profile
from emsd.plant.source import Finding, Source, in_order, list_or_hint
from emsd.plant.translate import translate
from emsd.plant.yaml_source import read_yaml
from emsd.quantities import BY_NAME

__all__ = ["ENTRY_POINT_GROUP", "ProfileLibrary", "load_profiles", "read_profiles"]

ENTRY_POINT_GROUP: Final = "emsd.profiles"

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ProfileLibrary:
    """Profiles by name, the file each came from, what is wrong with the `broken` ones, and which replaced others."""

    profiles: dict[str, Profile] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)


def load_profiles(folders: Sequence[Path] = ()) -> dict[str, Profile]:
    """Return every profile by name: those of installed packages, then those in `folders`.

    Of two profiles of one name the later folder's counts, which is logged.

    Raises:
        PlantError: a folder or a profile in it is wrong; all faults at once.
    """
    library = read_profiles(folders)
    if library.faults:
        raise PlantError(in_order(library.faults))
    for note in library.notes:
        _log.info("profile_replaced", note=str(note))
    return library.profiles


def read_profiles(folders: Sequence[Path] = (), *, installed: bool = True) -> ProfileLibrary:
    """Return what `load_profiles` would, with its faults and notes instead of an exception.

    Without `installed`, only `folders` count.
    """
    library = ProfileLibrary()
    for entry_point in metadata.entry_points(group=ENTRY_POINT_GROUP) if installed else ():
        try:
            offered = resources.files(entry_point.value)
        except ModuleNotFoundError:
            problem = f"names {entry_point.value}, which cannot be imported"
            place = f"entry point {ENTRY_POINT_GROUP}"
            library.faults.append(Fault(place, None, entry_point.name, problem, "reinstall its package"))
            continue
        with resources.as_file(offered) as folder:
            _read_folder(folder, library)
    for folder in folders:
        if folder.is_dir():
            _read_folder(folder, library)
        else:
            library.faults.append(Fault(str(folder), None, "", "is not a folder", "check profile_folders"))
    return library


def _read_folder(folder: Path, library: ProfileLibrary) -> None:
    here: dict[str, Path] = {}
    for path in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"))):
        try:
            profile = _read_profile(path)
        except PlantError as error:
            library.faults.extend(error.faults)
            library.broken.add(path.stem)
            continue
        name = profile.profile
        if name in here:
            problem = f"{name} is described by {here[name].name} too"
            library.faults.append(Fault(str(path), None, "profile", problem, "give each its own name"))
        elif name in library.files:
            problem = f"{name} replaces that of {library.files[name]}"
            library.notes.append(Fault(str(path), None, "profile", problem, "rename it if that is not meant"))
        here[name] = library.files[name] = path
        library.profiles[name] = profile


def _read_profile(path: Path) -> Profile:
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    return _understood(path, content)


@lru_cache(maxsize=512)
def _understood(path: Path, content: bytes) -> Profile:  # noqa: ARG001 - the content is what the answer is kept by
    """Read a profile once for each content of its file: reading the library takes a second, and each reload does it."""
    source, findings = read_yaml(path)
    findings.extend(_unknown_quantities(source))
    profile: Profile | None = None
    try:
        profile = Profile.model_validate(source.data)
    except ValidationError as error:
        known = {finding.where[:length] for finding in findings for length in range(1, len(finding.where) + 1)}
        findings.extend(each for each in translate(error, source, Profile) if each.where not in known)
    if findings or profile is None:
        raise PlantError(in_order(source.fault(finding) for finding in findings))
    return profile


def _unknown_quantities(source: Source) -> Iterator[Finding]:
    """Find quantities outside the vocabulary, with the one that was probably meant."""
    data: dict[str, Any] = source.data if isinstance(source.data, dict) else {}
    for section, entries in (("modbus", "points"), ("mqtt", "values"), ("sparkplug", "values")):
        inside = data.get(section)
        listed = inside.get(entries) if isinstance(inside, dict) else None
        for index, entry in enumerate(listed if isinstance(listed, list) else ()):
            name = entry.get("quantity") if isinstance(entry, dict) else None
            if isinstance(name, str) and name not in BY_NAME:
                where = (section, entries, index, "quantity")
                cure = list_or_hint(name, BY_NAME, "quantities")
                yield Finding(where, f"{source.shown(where, name)}is not in the vocabulary", cure)
