"""What a table is, whatever it is written as: its columns with kind and unit, and the facts that travel with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import TypeAlias

__all__ = ["Batch", "Cell", "Column", "ColumnKind", "Row", "TableFormat", "TableSchema"]

Cell: TypeAlias = datetime | date | str | float | int | bool | None
"""None is NULL; so is a float that is not finite, because arrays have no other word for it."""
Row: TypeAlias = Sequence[Cell]
"""Cells in the order of the columns; a tuple or a record of the database."""
Batch: TypeAlias = Sequence[Row]


class TableFormat(StrEnum):
    """How a table is written."""

    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"

    @property
    def media_type(self) -> str:
        """What HTTP calls it; RFC 4180 has the parameters of text/csv."""
        return _MEDIA_TYPES[self]

    @property
    def suffix(self) -> str:
        """How the name of its file ends; IANA lists .arrows for the stream, .arrow is the random access file."""
        return "arrows" if self is TableFormat.ARROW else self.value


_MEDIA_TYPES = {
    TableFormat.CSV: "text/csv; charset=utf-8; header=present",
    TableFormat.PARQUET: "application/vnd.apache.parquet",
    TableFormat.ARROW: "application/vnd.apache.arrow.stream",
}


class ColumnKind(StrEnum):
    """What the cells of a column are."""

    INSTANT = "instant"
    """An aware datetime, exact to the microsecond."""
    SECOND = "second"
    """An aware datetime at a full second, such as the begin of an interval."""
    DAY = "day"
    """A date."""
    KEY = "key"
    """A text that is one of the column's choices."""
    TEXT = "text"
    REAL = "real"
    """A float that the database keeps in 32 bits."""
    DOUBLE = "double"
    """A float of 64 bits."""
    INTEGER = "integer"
    """A whole number of up to 64 bits."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `unit` is for people ("kW", "degC"), and by the rule of the house `name` ends in it too.

    choices   of a KEY: every text that it may have; they are written once, and the cells as their numbers

    Raises ValueError when another kind than KEY has choices.
    """

    name: str
    kind: ColumnKind
    unit: str = ""
    title: str = ""
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.choices and self.kind is not ColumnKind.KEY:
            raise ValueError(f"column {self.name} is of kind {self.kind}; only a key has choices")


@dataclass(frozen=True, slots=True)
class TableSchema:
    """The columns of a table in order, its name, and what else is to stand in its file ("site", "time_zone", ...)."""

    name: str
    columns: tuple[Column, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
