"""`python -m bench [NAME ...]`: run benchmarks one after the other and print what they found.

Everything runs on private servers on the loopback interface, within bounded time, and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import structlog
import typer
import uvloop
from rich.console import Console
from rich.markup import escape

from bench.result import Report, as_document, as_table
from bench.world import Size, World
from emsd.errors import EmsdError
from emsd.servers import temporary_folder

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_NAMES: Final = (
    "ingest",
    "spool",
    "collector",
    "mqtt",
    "decode",
    "api",
    "storage",
    "gateway",
    "fleet",
    "outage",
    "sums",
    "accounting",
    "history",
    "serving",
)


@_app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(_NAMES)}; absent: all of them.")] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and shorter rounds: a first look.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Only show that everything runs; figures mean nothing.")
    ] = False,
    seconds: Annotated[float | None, typer.Option(min=1, max=3600, help="How long fleet measures.")] = None,
    shards: Annotated[
        int | None, typer.Option(min=0, max=64, help="Collecting processes of fleet; 0: one for all; absent: 2.")
    ] = None,
    day: Annotated[
        bool,
        typer.Option("--day", help="accounting computes a whole day of 1,000 meters: 15 GB."),
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw what fleet saw over time into this SVG file.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures into this file.")] = None,
) -> None:
    """Measure what emsd costs, each figure as a ratio to the bare library in the same run."""
    unknown = sorted(set(names or ()) - set(_NAMES))
    if unknown:
        raise typer.BadParameter(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(_NAMES)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    size = Size.SMOKE if smoke else Size.QUICK if quick else Size.FULL
    console = Console(stderr=True, highlight=False)
    wanted = tuple(dict.fromkeys(names or _NAMES))
    try:
        reports = _run(wanted, size, console, fleet_seconds=seconds, plot=plot, shards=shards, whole_day=day)
    except EmsdError as error:
        console.print(escape(str(error)))
        raise typer.Exit(1) from error
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    out.print(as_table(reports))
    for report in reports:
        for remark in report.remarks:
            out.print(remark, markup=False)
    if json_file is not None:
        json_file.write_text(json.dumps(as_document(reports, _machine(size)), indent=1) + "\n", encoding="utf-8")


def _run(names: Sequence[str], size: Size, console: Console, **of_fleet: Any) -> list[Report]:
    async def run_all() -> list[Report]:
        with temporary_folder("emsd-bench-") as folder, console.status("starting") as status:
            world = World(size, folder, console, status, **of_fleet)
            try:
                return [await importlib.import_module(f"bench.{name}").run(world) for name in names]
            finally:
                await world.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run_all())


def _machine(size: Size) -> dict[str, Any]:
    return {
        "size": size.value,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    _app()
