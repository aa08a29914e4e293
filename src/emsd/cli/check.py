"""`emsd check`: read a plant's description without touching any device, and show what it comes to.

Exit codes: 0 the description is right, perhaps with warnings; 2 it has faults, one a line on standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emsd.errors import ConfigurationError, Fault, PlantError

if TYPE_CHECKING:
    from emsd.cli.bus_load import BusLoad
    from emsd.plant.loader import LoadedPlant

__all__ = ["check"]

_WIDTH_OF_A_FILE = 160


def check(
    path: Annotated[
        Path, typer.Argument(envvar="EMSD_PLANT", show_envvar=True, help="The plant's description.")
    ] = Path("plant.yaml"),
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found for machines.")] = False,
    round_trip_ms: Annotated[
        float | None,
        typer.Option(min=0.01, max=60_000, help="Measured round trip of the network [ms]; else 2, gateways 10."),
    ] = None,
    gateway_baud: Annotated[
        int | None, typer.Option(min=300, max=4_000_000, help="Speed of the serial lines behind gateways [bit/s].")
    ] = None,
) -> None:
    """Check a plant's description and show its tree and how busy its connections will be; no device is touched.

    For example `emsd check plant.yaml`, and for a gateway whose meters are wired at 9,600 baud
    `emsd check plant.yaml --gateway-baud 9600`.
    """
    from emsd.alarms.oncall import OnCall
    from emsd.cli.bus_load import Assumptions, bus_loads
    from emsd.plant.loader import load_plant

    assumptions = Assumptions(None if round_trip_ms is None else round_trip_ms / 1000, gateway_baud)
    try:
        loaded = load_plant(path, environ=os.environ)
        OnCall(loaded.plant.notification_targets)
        loads = bus_loads(loaded, assumptions)
    except ConfigurationError as error:
        faults = error.faults if isinstance(error, PlantError) else ()
        if as_json:
            told = [asdict(fault) for fault in faults] or [asdict(Fault(str(path), None, "", str(error)))]
            _print_json({"valid": False, "faults": told})
        else:
            for line in [str(fault) for fault in faults] or [str(error)]:
                typer.echo(line, err=True)
        raise typer.Exit(2) from error
    warnings = [*loaded.warnings, *_warnings(loaded, loads)]
    if as_json:
        _print_json(_document(loaded, loads, warnings))
    else:
        _show(loaded, loads, warnings)


def _show(loaded: LoadedPlant, loads: Sequence[BusLoad], warnings: Sequence[Fault]) -> None:
    from rich.console import Console

    from emsd.cli.bus_view import load_table
    from emsd.cli.kpi_view import kpi_tables
    from emsd.cli.plant_view import plant_view

    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)
    further = [*([load_table(loads)] if loads else []), *kpi_tables(loaded)]
    console.print(plant_view(loaded, further, warnings=len(warnings)))
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)


def _warnings(loaded: LoadedPlant, loads: Sequence[BusLoad]) -> list[Fault]:
    """Return the warnings of the schedule, each with the line of its connection."""
    from emsd.cli.bus_view import load_warnings
    from emsd.plant.yaml_source import read_yaml

    findings = list(load_warnings(loads))
    if not findings:
        return []
    source, _ = read_yaml(loaded.path, environ=os.environ)
    return [source.fault(finding) for finding in findings]


def _document(loaded: LoadedPlant, loads: Sequence[BusLoad], warnings: Sequence[Fault]) -> dict[str, Any]:
    from emsd.cli.kpi_view import kpi_document

    plant = loaded.plant
    return {
        "valid": True,
        "site": plant.site.name,
        "areas": len(plant.areas),
        "assets": len(plant.assets),
        "meters": len(plant.meters),
        "connections": len(plant.connections),
        "alarms": len(plant.alarms),
        "modbus_connections": [bus.document() for bus in loads],
        "key_figures": kpi_document(loaded),
        "warnings": [asdict(warning) for warning in warnings],
        "faults": [],
    }


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
