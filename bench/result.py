"""What a benchmark reports: figures with their spread over rounds, and the table that shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Self

from rich.table import Table

__all__ = ["Report", "Row", "Spread", "as_document", "as_table", "compared", "single"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and greatest of some rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Return the spread of at least one value."""
        listed = list(values)
        return cls(median(listed), min(listed), max(listed))


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: ours, the bare library's, and our speed as a multiple of its speed (1 is equal, more is faster).

    `bare` and `ratio` are None where there is nothing to compare with; `target` is what must be reached, in words, and
    `met` whether it was.
    """

    benchmark: str
    measure: str
    unit: str
    emsd: Spread
    bare: Spread | None = None
    ratio: Spread | None = None
    target: str = ""
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one benchmark; `remarks` say what is in them and what is not."""

    rows: Sequence[Row]
    remarks: Sequence[str] = ()


def compared(
    benchmark: str,
    measure: str,
    unit: str,
    rounds: Sequence[tuple[float, float]],
    *,
    less_is_faster: bool = False,
    least_ratio: float | None = None,
) -> Row:
    """Return the row of (ours, bare) pairs, one a round.

    `less_is_faster` is for figures that are times or sizes; `least_ratio` is the ratio to be reached by the median.
    """
    ours, bare = Spread.of(each[0] for each in rounds), Spread.of(each[1] for each in rounds)
    ratio = Spread.of(theirs / mine if less_is_faster else mine / theirs for mine, theirs in rounds)
    if least_ratio is None:
        return Row(benchmark, measure, unit, ours, bare, ratio)
    target = f">= {least_ratio:.0%} of bare"
    return Row(benchmark, measure, unit, ours, bare, ratio, target, ratio.median >= least_ratio)


def single(benchmark: str, measure: str, unit: str, value: float, *, target: str = "", met: bool | None = None) -> Row:
    """Return the row of a figure that was taken once and has no bare counterpart."""
    return Row(benchmark, measure, unit, Spread.of([value]), target=target, met=met)


def as_table(reports: Sequence[Report]) -> Table:
    """Return all rows as a table, benchmark by benchmark."""
    table = Table(title="emsd against the bare libraries: median (least to most of the rounds)", title_justify="left")
    table.add_column("Benchmark", no_wrap=True)
    table.add_column("Measure")
    for name in ("emsd", "bare", "ratio"):
        table.add_column(name, justify="right")
    table.add_column("must reach")
    for report in reports:
        for row in report.rows:
            table.add_row(
                row.benchmark,
                f"{row.measure} [{row.unit}]".replace("[", r"\["),
                _shown(row.emsd),
                _shown(row.bare),
                "" if row.ratio is None else _shown(row.ratio),
                _verdict(row),
            )
        table.add_section()
    return table


def as_document(reports: Sequence[Report], machine: dict[str, Any]) -> dict[str, Any]:
    """Return everything as JSON would have it."""
    return {
        "machine": machine,
        "rows": [asdict(row) for report in reports for row in report.rows],
        "remarks": [remark for report in reports for remark in report.remarks],
    }


def _shown(spread: Spread | None) -> str:
    if spread is None:
        return ""
    middle = _number(spread.median)
    if spread.least == spread.most:
        return middle
    return f"{middle} ({_number(spread.least)} to {_number(spread.most)})"


def _number(value: float) -> str:
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _verdict(row: Row) -> str:
    if row.met is None:
        return row.target
    colour, word = ("green", "met") if row.met else ("red", "NOT met")
    return f"{row.target}: [{colour}]{word}[/{colour}]"
