"""`emsd probe`: read one device once and say how its registers are to be understood.

Exit codes: 0 something was read; 1 nothing answered; 2 the command was not understood, nothing was asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from emsd.cli.outcome import one_sentence
from emsd.errors import SettingsError, Unreachable

if TYPE_CHECKING:
    from collectors.commissioning.nameplate import Nameplate
    from collectors.commissioning.probing import Candidate, Guess
    from emsd.cli.modbus_target import Target

__all__ = ["Address", "BaudRate", "Kind", "Parity", "ProfileFolders", "probe", "progress"]

_PLACE = "HOST, HOST:PORT or the path of a serial port"

Address: TypeAlias = Annotated[str | None, typer.Argument(help=f"{_PLACE}.")]
Kind: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="modbus_tcp, modbus_tls, modbus_rtu_over_tcp, modbus_udp or modbus_rtu; by the address if absent."
    ),
]
BaudRate: TypeAlias = Annotated[int, typer.Option("--baud", min=300, max=4_000_000, help="Speed of the line [bit/s].")]
ProfileFolders: TypeAlias = Annotated[
    list[Path] | None, typer.Option("--profiles", help="A folder with profiles of your own.")
]
Parity: TypeAlias = Annotated[str, typer.Option(help="none, even or odd, of the serial line.")]

_USUAL_UNITS = (1, 255, 2, 3, 247)


def probe(
    address: Annotated[str | None, typer.Argument(help=f"{_PLACE}; absent with --meter.")] = None,
    unit: Annotated[
        list[int] | None, typer.Option("--unit", min=0, max=255, help="Unit id to ask; may be given more than once.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Profile to read it by; absent: all are tried.")] = None,
    plant: Annotated[
        Path, typer.Option(envvar="EMSD_PLANT", show_envvar=True, help="The plant's description, for --meter.")
    ] = Path("plant.yaml"),
    meter: Annotated[str | None, typer.Option(help="Take address, unit and profile from this meter.")] = None,
    profiles: ProfileFolders = None,
    kind: Kind = None,
    baud: BaudRate = 9600,
    parity: Parity = "none",
    timeout: Annotated[float | None, typer.Option(min=0.01, max=60, help="Longest wait for an answer [s].")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found for machines.")] = False,
) -> None:
    """Read a device once and show raw words, values, and which word order, base and unit id are likely right.

    Nothing is ever written to the device. With a profile every word and byte order is tried, and the addresses as they
    stand, one below and one above; the ways are ranked by how well the values hang together: mains frequency and
    voltage, line against phase voltage, P, Q and S, sums of phases. Without a profile all of the library are tried.

    Examples:
        emsd probe 192.168.1.40 --unit 7 --profile schneider_pm5560

        emsd probe /dev/ttyUSB0 --baud 19200 --parity even --unit 1

        emsd probe --plant plant.yaml --meter feeder-3
    """
    from emsd.cli.modbus_target import target_of_address, target_of_meter

    with one_sentence():
        if (address is None) == (meter is None):
            raise SettingsError("give either an address, such as 192.168.1.40:502, or --meter and --plant")
        if meter is not None:
            target = target_of_meter(plant, meter)
        else:
            target = target_of_address(address or "", kind, baud, parity, profiles or [])
        units = unit or ([target.unit] if target.unit is not None else list(_USUAL_UNITS))
        name = profile or target.profile
        with progress(quiet=as_json) as say:
            if name is None:
                _guess(target, units, timeout, say, as_json=as_json)
            else:
                _probe(target, name, units, timeout, say, as_json=as_json)


def _probe(
    target: Target,
    name: str,
    units: Sequence[int],
    timeout_s: float | None,
    say: Callable[[str], None],
    *,
    as_json: bool,
) -> None:
    from collectors.commissioning import probing
    from collectors.commissioning.nameplate import read_nameplate
    from emsd.cli import probe_view as view
    from emsd.cli.run import run_until_stopped
    from emsd.plant.source import list_or_hint

    chosen = target.profiles.get(name)
    if chosen is None:
        raise SettingsError(f"there is no profile {name}; {list_or_hint(name, target.profiles, 'profiles')}")
    registers = chosen.modbus
    if registers is None:
        raise SettingsError(f"profile {name} is not of a Modbus device; choose one that is")
    devices = [probing.open_device(target.connection, unit, timeout_s, registers) for unit in units]
    found: list[Candidate] = []
    plates: list[Nameplate] = []

    async def work() -> None:
        try:
            found.extend(await probing.probe(devices, registers, say=say))
            answered = next((device for device in devices if found and device.unit == found[0].unit), None)
            if answered is not None and registers.sunspec_bases:
                plate = await read_nameplate(answered, registers.sunspec_bases)
                plates.extend([plate] if plate is not None else [])
        finally:
            for device in devices:
                device.close()

    run_until_stopped(work())
    if not found:
        raise Unreachable(
            f"nothing at {target.connection.address} answered as unit {', '.join(map(str, units))}; "
            "check address, unit id, wiring and speed, and that no other client holds the device's only connection"
        )
    if as_json:
        told: dict[str, object] = {"profile": name, "candidates": [view.candidate_data(each) for each in found]}
        for plate in plates:
            told["sunspec"] = view.nameplate_data(plate)
        typer.echo(json.dumps(told, indent=1))
        return
    view.show(
        *(view.nameplate_table(plate) for plate in plates),
        view.candidates_table(name, found),
        view.values_table(found[0], registers),
        view.advice_on(name, found[0], registers),
    )


def _guess(
    target: Target, units: Sequence[int], timeout_s: float | None, say: Callable[[str], None], *, as_json: bool
) -> None:
    from collectors.commissioning import probing
    from emsd.cli import probe_view as view
    from emsd.cli.run import run_until_stopped

    found: list[tuple[int, Guess]] = []

    async def work() -> None:
        for unit in units:
            device = probing.open_device(target.connection, unit, timeout_s)
            try:
                guesses = await probing.guess_profiles(device, target.profiles, say=say)
            finally:
                device.close()
            found.extend((unit, guess) for guess in guesses)

    run_until_stopped(work())
    if not found:
        raise Unreachable(
            f"nothing at {target.connection.address} gave values by any profile as unit {', '.join(map(str, units))}; "
            "check address and unit id with `emsd scan`, or write a profile"
        )
    if as_json:
        told = [{"unit": unit, **view.guess_data(guess)} for unit, guess in found]
        typer.echo(json.dumps({"guesses": told}, indent=1))
        return
    view.show(view.guesses_table(found), "Then: emsd probe ADDRESS --unit N --profile NAME")


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show what is being tried on standard error, in a terminal only."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _text: None
        return
    with console.status("asking") as status:
        yield lambda text: status.update(f"asking: {text}")
