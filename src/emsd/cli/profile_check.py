"""A check of a person's own profiles: faults, what they cost to read, and what is suspicious in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from emsd.cli.profile_doubts import doubts
from emsd.cli.profile_facts import Facts, facts_of, protocol_of
from emsd.errors import Fault
from emsd.plant.profile import Profile
from emsd.plant.profiles import ProfileLibrary, read_profiles
from emsd.plant.source import Finding, Source, Where, in_order
from emsd.plant.yaml_source import read_yaml

__all__ = ["Checked", "check_profiles"]

_SUFFIXES: Final = frozenset({".yaml", ".yml"})
_ENTRIES: Final = {"modbus": "points", "mqtt": "values", "sparkplug": "values"}


@dataclass(slots=True)
class Checked:
    """What a check found, in order of file and line."""

    usable: list[Facts] = field(default_factory=list)
    faults: Sequence[Fault] = ()
    warnings: Sequence[Fault] = ()


def check_profiles(paths: Iterable[Path]) -> Checked:
    """Check the profiles in files and folders: read them, plan and compile each, and look for what is suspicious."""
    checked = Checked()
    faults: list[Fault] = []
    warnings: list[Fault] = []
    shipped = _shipped_files()
    for path in paths:
        library = _read(path, faults)
        for name, profile in sorted(library.profiles.items()):
            file = library.files[name]
            source, _ = read_yaml(file)
            try:
                checked.usable.append(facts_of(profile, file))
            except ValueError as error:
                faults.append(source.fault(Finding(_where(profile, str(error)), f"cannot be used: {error}")))
                continue
            warnings += [source.fault(finding) for finding in doubts(profile)]
            warnings += _replaces(name, source, shipped)
    checked.faults, checked.warnings = in_order(faults), in_order(warnings)
    return checked


def _read(path: Path, faults: list[Fault]) -> ProfileLibrary:
    """Read a folder, or its one file; what is wrong is added to `faults`."""
    if path.is_dir():
        library = read_profiles([path], installed=False)
        faults += library.faults
        if not library.profiles and not library.faults:
            faults.append(Fault(str(path), None, "", "has no profiles", "a profile is a .yaml file of its own"))
        return library
    if not path.is_file() or path.suffix not in _SUFFIXES:
        problem = "is not a profile" if path.exists() else "is not there"
        faults.append(Fault(str(path), None, "", problem, "name a .yaml file or a folder"))
        return ProfileLibrary()
    library = read_profiles([path.parent], installed=False)
    faults += [fault for fault in library.faults if fault.file == str(path)]
    own = {name: profile for name, profile in library.profiles.items() if library.files[name] == path}
    return ProfileLibrary(own, dict.fromkeys(own, path))


@lru_cache(maxsize=1)
def _shipped_files() -> Mapping[str, Path]:
    """Return the files of installed packages' profiles by name; they do not change while a process runs."""
    return MappingProxyType(read_profiles().files)


def _replaces(name: str, source: Source, shipped: Mapping[str, Path]) -> list[Fault]:
    file = shipped.get(name)
    if file is None or file.resolve() == Path(source.file).resolve():
        return []
    finding = Finding(("profile",), f"{name} replaces the shipped one, {file}", "rename it if that is not meant")
    return [source.fault(finding)]


def _where(profile: Profile, message: str) -> Where:
    """Return the place of the entry that a message is about: that of the first quantity which it names."""
    section = protocol_of(profile)
    part = getattr(profile, section)
    listed = getattr(part, _ENTRIES[section])
    words = message.replace(":", " ").split()
    for index, entry in enumerate(listed):
        if entry.quantity in words:
            return (section, _ENTRIES[section], index)
    return (section,)
