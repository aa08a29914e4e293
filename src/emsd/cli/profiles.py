"""`emsd profiles`: the library of device profiles, one of them in full, and a check of your own.

Exit codes: 0 done, perhaps with warnings; 2 a profile has faults, one a line on standard error, or there is none of
that name.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emsd.errors import ConfigurationError, Fault, PlantError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from emsd.plant.profiles import ProfileLibrary

__all__ = ["app"]

app = typer.Typer(help="The library of device profiles, and a check of your own.", no_args_is_help=True)

_WIDTH_OF_A_FILE = 160

AsJson = Annotated[bool, typer.Option("--json", help="Print it for machines.")]
PlantOfProfiles = Annotated[
    Path | None,
    typer.Option("--plant", envvar="EMSD_PLANT", show_envvar=True, help="Also those in this plant's profile_folders."),
]


@app.command("list")
def list_profiles(
    kind: Annotated[str | None, typer.Option(help="Only devices of this kind, such as power_meter.")] = None,
    plant: PlantOfProfiles = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List every profile that meters can name.

    For example `emsd profiles list --kind power_meter`.
    """
    from emsd.cli.profile_facts import Facts, summary_of
    from emsd.cli.profile_view import list_table
    from emsd.plant.source import list_or_hint

    with _refusing():
        library = _library(plant)
        kinds = {profile.kind for profile in library.profiles.values()}
        if kind is not None and kind not in kinds:
            raise ConfigurationError(f"there is no profile of kind {kind}; {list_or_hint(kind, kinds, 'kinds')}")
    found = [
        Facts(profile, library.files[name])
        for name, profile in sorted(library.profiles.items())
        if kind is None or profile.kind == kind
    ]
    if as_json:
        _print_json([summary_of(each.profile, each.file) for each in found])
    else:
        _print(list_table(found))
        typer.echo(f"{len(found)} profiles; `emsd profiles show NAME` tells all about one")
    _warn(library.faults)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of the profile, as `emsd profiles list` shows it.")],
    plant: PlantOfProfiles = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show everything about one profile: quantities, addresses, reads, settings, what is unproven, sources.

    For example `emsd profiles show eastron_sdm630`.
    """
    from emsd.cli.profile_facts import document_of, facts_of
    from emsd.cli.profile_view import profile_view
    from emsd.plant.source import did_you_mean

    with _refusing():
        library = _library(plant)
        profile = library.profiles.get(name)
        if profile is None:
            own = [fault for fault in library.faults if Path(fault.file).stem == name]
            if own:
                raise PlantError(own)
            meant = did_you_mean(name, library.profiles)
            hint = f'did you mean "{meant}"?' if meant else "`emsd profiles list` shows all of them"
            raise ConfigurationError(f"there is no profile {name}; {hint}")
        try:
            facts = facts_of(profile, library.files[name])
        except ValueError as error:
            raise PlantError([Fault(str(library.files[name]), None, name, f"cannot be used: {error}")]) from error
    if as_json:
        _print_json(document_of(facts))
    else:
        _print(profile_view(facts))


@app.command()
def check(
    paths: Annotated[
        list[Path], typer.Argument(help="Profiles, or folders with profiles.", metavar="FILE_OR_FOLDER...")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Check profiles of your own: every fault with file and line, what reading them costs, and what looks wrong.

    For example `emsd profiles check my_meter.yaml` or `emsd profiles check profiles/`.
    """
    from emsd.cli.profile_check import check_profiles
    from emsd.cli.profile_facts import document_of
    from emsd.cli.profile_view import plan_table

    checked = check_profiles(paths)
    if as_json:
        _print_json(
            {
                "valid": not checked.faults,
                "profiles": [document_of(each) for each in checked.usable],
                "faults": [asdict(fault) for fault in checked.faults],
                "warnings": [asdict(warning) for warning in checked.warnings],
            }
        )
    else:
        if checked.usable:
            _print(plan_table(checked.usable))
        for fault in checked.faults:
            typer.echo(str(fault), err=True)
        _warn(checked.warnings)
    if checked.faults:
        raise typer.Exit(2)


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what a person wrote wrong into its sentences on standard error, and exit code 2."""
    try:
        yield
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


def _library(plant: Path | None) -> ProfileLibrary:
    """Return the profiles of installed packages, and those in the folders that a plant names.

    Raises:
        PlantError: the plant's file cannot be read, or a folder that it names is not there.
    """
    from emsd.plant.profiles import read_profiles

    folders = _folders(plant) if plant is not None else []
    missing = [
        Fault(str(plant), None, "profile_folders", f"{each} is not a folder") for each in folders if not each.is_dir()
    ]
    if missing:
        raise PlantError(missing)
    return read_profiles(folders)


def _folders(plant: Path) -> list[Path]:
    from emsd.plant.yaml_source import read_yaml

    source, _ = read_yaml(plant, environ=os.environ)
    named = source.data.get("profile_folders") if isinstance(source.data, dict) else None
    return [plant.parent / each.strip() for each in named if isinstance(each, str)] if isinstance(named, list) else []


def _print(what: RenderableType) -> None:
    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE).print(what)


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _warn(faults: Sequence[Fault]) -> None:
    for fault in faults:
        typer.echo(f"warning: {fault}", err=True)
