"""`emsd scan`: walk a Modbus bus and say which unit ids answer.

Exit codes: 0 something answers; 1 nothing does, or the endpoint cannot be reached; 2 the command was not understood.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emsd.cli.outcome import one_sentence
from emsd.cli.probe import Address, BaudRate, Kind, Parity, ProfileFolders, progress
from emsd.errors import SettingsError, Unreachable

if TYPE_CHECKING:
    from collectors.commissioning.probing import Guess
    from collectors.commissioning.scanning import Sighting
    from emsd.cli.modbus_target import Target

__all__ = ["scan"]

_WIDTH_OF_A_FILE = 160


def scan(
    address: Address = None,
    units: Annotated[str, typer.Option(help="Unit ids to ask, such as 1-32,247.")] = "1-247",
    identify: Annotated[
        bool, typer.Option("--identify", help="Try the profiles of the library on every unit that answers.")
    ] = False,
    profiles: ProfileFolders = None,
    kind: Kind = None,
    baud: BaudRate = 9600,
    parity: Parity = "none",
    timeout: Annotated[float, typer.Option(min=0.01, max=60, help="Longest wait for each answer [s].")] = 0.5,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found for machines.")] = False,
) -> None:
    """Ask every unit id of a bus for its first register and list those that answer.

    Nothing is ever written. A bus of silent units takes the timeout for each: 247 units at 0.5 s are two minutes.

    Examples:
        emsd scan 192.168.1.40 --units 1-32 --identify

        emsd scan /dev/ttyUSB0 --baud 9600 --timeout 0.2
    """
    from emsd.cli.modbus_target import target_of_address

    with one_sentence():
        if address is None:
            raise SettingsError("give an address, such as 192.168.1.40:502 or /dev/ttyUSB0")
        wanted = _numbers(units)
        target = target_of_address(address, kind, baud, parity, profiles or [])
        seen, guesses = _walk(target, wanted, timeout, identify=identify, quiet=as_json)
        there = [each for each in seen if each.is_there]
        if as_json:
            typer.echo(json.dumps({"asked": len(seen), "units": [_as_data(each, guesses) for each in there]}, indent=1))
        else:
            _show(there, guesses, len(seen))
        if not there:
            raise Unreachable(
                f"none of {len(seen)} unit ids answers at {target.connection.address}; "
                "check speed and parity, wiring, and with a longer --timeout"
            )


def _walk(
    target: Target, units: Sequence[int], timeout_s: float, *, identify: bool, quiet: bool
) -> tuple[list[Sighting], dict[int, Guess]]:
    from collectors.commissioning import probing, scanning
    from emsd.cli.run import run_until_stopped

    seen: list[Sighting] = []
    guesses: dict[int, Guess] = {}

    async def work() -> None:
        with progress(quiet=quiet) as say:
            async for sighting in scanning.scan(target.connection, units, timeout_s=timeout_s):
                seen.append(sighting)
                found = sum(each.is_there for each in seen)
                say(f"unit {sighting.unit}, {len(seen)} of {len(units)}, {found} found")
            for sighting in seen if identify else ():
                if sighting.is_there:
                    device = probing.open_device(target.connection, sighting.unit, timeout_s)
                    try:
                        best = await probing.guess_profiles(device, target.profiles, say=say)
                    finally:
                        device.close()
                    if best:
                        guesses[sighting.unit] = best[0]

    run_until_stopped(work())
    return seen, guesses


def _numbers(text: str) -> list[int]:
    """Return the numbers of `1-3,7`.

    Raises:
        SettingsError: it is not such a text, or beyond 0..255.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise SettingsError(f"--units {text!r} is not a list such as 1-32,247")
        found += range(int(first), int(last if dash else first) + 1)
    if not found or min(found) < 0 or max(found) > 255:
        raise SettingsError(f"--units {text!r} has no units, or some beyond 0..255")
    return list(dict.fromkeys(found))


def _as_data(sighting: Sighting, guesses: dict[int, Guess]) -> dict[str, Any]:
    guess = guesses.get(sighting.unit)
    told: dict[str, Any] = {**asdict(sighting)}
    if guess is not None:
        told["profile"] = guess.profile
        told["score"] = round(guess.verdict.score, 4)
        told["identity"] = dict(guess.identity)
    return told


def _show(there: Sequence[Sighting], guesses: dict[int, Guess], asked: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(there)} of {asked} unit ids answer", title_justify="left")
    for column in ("unit", "state", "detail", *(("profile", "likely", "says it is") if guesses else ())):
        table.add_column(column, justify="right" if column in {"unit", "likely"} else "left")
    for each in there:
        guess = guesses.get(each.unit)
        row = [str(each.unit), each.state, each.detail]
        if guess is not None:
            says = ", ".join(f"{what} {told}" for what, told in guess.identity.items())
            row += [guess.profile, f"{100 * guess.verdict.score:.0f} %", says]
        table.add_row(*row)
    Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE).print(table)
