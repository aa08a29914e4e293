"""What `emsd probe` shows: tables for people, plain data for machines, and advice."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

    from collectors.commissioning.nameplate import Nameplate
    from collectors.commissioning.probing import Candidate, Guess
    from emsd.plant.modbus_map import ModbusMap

__all__ = [
    "advice_on",
    "candidate_data",
    "candidates_table",
    "guess_data",
    "guesses_table",
    "nameplate_data",
    "nameplate_table",
    "show",
    "values_table",
]

_WIDTH_OF_A_FILE = 160
_SHOWN = 8


def candidate_data(candidate: Candidate) -> dict[str, Any]:
    """Return one way to read a device as plain data."""
    return {
        "unit": candidate.unit,
        "address_shift": candidate.shift,
        "order": candidate.order.letters,
        "as_written": candidate.as_written,
        "score": round(candidate.verdict.score, 4),
        "evidence": [
            {"what": each.what, "score": round(each.score, 3), "weight": each.weight}
            for each in candidate.verdict.evidence
        ],
        "values": dict(candidate.values),
        "unanswered": list(candidate.refused),
        "raw": [
            {"table": each.block.table.value, "address": each.block.address, "words": _words(each.payload)}
            for each in candidate.answers
        ],
    }


def guess_data(guess: Guess) -> dict[str, Any]:
    """Return a guessed profile as plain data."""
    return {
        "profile": guess.profile,
        "score": round(guess.verdict.score, 4),
        "answered": guess.answered,
        "wanted": guess.wanted,
        "identity": dict(guess.identity),
    }


def nameplate_data(plate: Nameplate) -> dict[str, Any]:
    """Return a SunSpec device's models and rating as plain data."""
    return asdict(plate)


def nameplate_table(plate: Nameplate) -> RenderableType:
    """Return a SunSpec device's models and rating as a table."""
    from rich.table import Table

    rated = "" if plate.rated_power_kw is None else f", rated {plate.rated_power_kw:g} kW by its nameplate"
    table = Table(title=f"SunSpec models of the device{rated}", title_justify="left")
    for column in ("model", "address", "definition"):
        table.add_column(column, justify="left" if column == "definition" else "right")
    for model in plate.models:
        table.add_row(str(model.number), str(model.address), model.title)
    return table


def candidates_table(name: str, found: Sequence[Candidate]) -> RenderableType:
    """Return the ways to read a device as a table, the likeliest first."""
    from rich.table import Table

    table = Table(title=f"Ways to read it by {name}, the likeliest first", title_justify="left")
    for column in ("unit", "addresses", "order", "likely", "because"):
        table.add_column(column, justify="right" if column in {"unit", "likely"} else "left")
    for each in found[:_SHOWN]:
        where = "as written" if each.shift == 0 else f"all {each.shift:+d}"
        written = " (profile)" if each.as_written else ""
        score = f"{100 * each.verdict.score:.0f} %"
        table.add_row(str(each.unit), where, each.order.letters + written, score, each.verdict.reasons)
    return table


def values_table(best: Candidate, registers: ModbusMap) -> RenderableType:
    """Return what the likeliest way gives, with the raw words, as a table."""
    from rich.table import Table

    from emsd.quantities import BY_NAME

    table = Table(title="What the likeliest way gives", title_justify="left")
    for column in ("quantity", "value", "unit", "register", "raw words"):
        table.add_column(column, justify="right" if column in {"value", "register"} else "left")
    raw = dict(_raw_words(best))
    for point in registers.delivered:
        value = best.values.get(point.quantity)
        shown = "not answered" if point.quantity in best.refused else _number(value)
        place, words = raw.get(point.quantity, ("", ""))
        table.add_row(point.quantity, shown, BY_NAME[point.quantity].unit, place, words)
    return table


def _number(value: float | None) -> str:
    """Write a number with six digits; counters may have more of them."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if 1e6 <= abs(value) < 1e15 else f"{value:,.6g}"


def _raw_words(candidate: Candidate) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield quantity, and its register with the words as they came."""
    for answer in candidate.answers:
        for target in answer.block.targets:
            start = 2 * (target.address - answer.block.address)
            words = answer.payload[start : start + 2 * target.point.type.registers]
            yield target.point.quantity, (str(target.address), " ".join(_words(words)))


def _words(payload: bytes) -> list[str]:
    return [payload[at : at + 2].hex().upper() for at in range(0, len(payload), 2)]


def guesses_table(found: Sequence[tuple[int, Guess]]) -> RenderableType:
    """Return the profiles that a device may have, the likeliest first, as a table."""
    from rich.table import Table

    table = Table(title="Profiles that it may be, the likeliest first", title_justify="left")
    for column in ("unit", "profile", "likely", "answered", "says it is", "because"):
        table.add_column(column, justify="right" if column in {"unit", "likely", "answered"} else "left")
    for unit, guess in found[: 2 * _SHOWN]:
        says = ", ".join(f"{what} {told}" for what, told in guess.identity.items())
        answered = f"{guess.answered}/{guess.wanted}"
        score = f"{100 * guess.verdict.score:.0f} %"
        table.add_row(str(unit), guess.profile, score, answered, says, guess.verdict.reasons)
    return table


def advice_on(name: str, best: Candidate, registers: ModbusMap) -> str:
    """Return what to do when another way than the profile's is the likeliest."""
    if best.as_written:
        return f"Profile {name} reads this device as it is written."
    cures: list[str] = []
    if best.order.word_order != registers.word_order:
        cures.append(f"word_order: {best.order.word_order}")
    if best.order.byte_order != registers.byte_order:
        cures.append(f"byte_order: {best.order.byte_order}")
    if best.shift:
        cures.append(f"every address {best.shift:+d}")
    return (
        f"Profile {name} does not read this device as it is written. Copy it into a folder of your own under a new "
        f"name, with {' and '.join(cures)}, or change the device's own setting; then probe again."
    )


def show(*parts: RenderableType) -> None:
    """Print to standard output, in the width of the terminal or of a file."""
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)
    for part in parts:
        console.print(part)
