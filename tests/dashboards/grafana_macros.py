"""What Grafana does to the SQL of its PostgreSQL datasource with `timescaledb: true` before the database sees it.

Written from its source, github.com/grafana/grafana:

    the page      public/app/features/templating (names), packages/grafana-sql/src/datasource/SqlDatasource.ts
                  (interpolateVariable), the formats `sqlstring` and `csv` of grafana/scenes formatRegistry.ts,
                  packages/grafana-data/src/datetime/rangeutil.ts (roundInterval)
    the server    pkg/tsdb/grafana-postgresql-datasource/macros.go, sqleng/sql_engine.go (Interpolate, SetupFillmode),
                  grafana-plugin-sdk-go backend/gtime (ParseInterval, FormatInterval)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["Expanded", "Fill", "MacroError", "TimeRange", "Variable", "expand", "format_interval", "interval_of"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MacroError(ValueError):
    """Grafana would answer with an error instead of asking the database."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The shown range, both ends included."""

    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Variable:
    """A template variable with what is chosen; for All that is the list of every option."""

    value: str | Sequence[str]
    multi: bool = False
    include_all: bool = False


@dataclass(frozen=True, slots=True)
class Fill:
    """What $__timeGroup's third argument asks for: rows for times without one, each `interval` apart."""

    interval: timedelta
    mode: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Expanded:
    """SQL for the database, and how the answer is filled up."""

    sql: str
    fill: Fill | None


def expand(sql: str, shown: TimeRange, interval: timedelta, variables: Mapping[str, Variable]) -> Expanded:
    """Return what the database gets; raises MacroError as Grafana would refuse."""
    sql = _replace_variables(sql, {**variables, **_built_in(interval)})
    sql = sql.replace("$__interval_ms", str(round(interval.total_seconds() * 1000)))
    sql = sql.replace("$__interval", format_interval(interval))
    sql = sql.replace("$__unixEpochFrom()", str(_epoch_s(shown.begin)))
    sql = sql.replace("$__unixEpochTo()", str(_epoch_s(shown.end)))
    return _Macros(shown).interpolate(sql)


# ---------------------------------------------------------------------------------------------------- in the page

_NAME = re.compile(r"\$(?P<plain>\w+)|\[\[(?P<old>\w+?)(?::\w+)?\]\]|\$\{(?P<braced>\w+)(?::(?P<format>[^}]+))?\}")

# roundInterval: below this many milliseconds -> this many.
_ROUND_MS: Final = (
    (10, 1), (15, 10), (35, 20), (75, 50), (150, 100), (350, 200), (750, 500), (1_500, 1_000), (3_500, 2_000),
    (7_500, 5_000), (12_500, 10_000), (17_500, 15_000), (25_000, 20_000), (45_000, 30_000), (90_000, 60_000),
    (210_000, 120_000), (450_000, 300_000), (750_000, 600_000), (1_050_000, 900_000), (1_500_000, 1_200_000),
    (2_700_000, 1_800_000), (5_400_000, 3_600_000), (9_000_000, 7_200_000), (16_200_000, 10_800_000),
    (32_400_000, 21_600_000), (86_400_000, 43_200_000), (604_800_000, 86_400_000), (1_814_400_000, 604_800_000),
    (3_628_800_000, 2_592_000_000),
)  # fmt: skip


def interval_of(shown: TimeRange, points: int, lowest: str | None) -> timedelta:
    """Return $__interval for a panel of so many points whose smallest interval is `lowest`."""
    wanted_ms = (shown.end - shown.begin).total_seconds() * 1000 / points
    rounded_ms = next((rounded for below, rounded in _ROUND_MS if wanted_ms < below), 31_536_000_000)
    found = timedelta(milliseconds=rounded_ms)
    return found if lowest is None else max(found, parse_interval(lowest))


def _built_in(interval: timedelta) -> dict[str, Variable]:
    return {
        "__interval": Variable(format_interval(interval)),
        "__interval_ms": Variable(str(round(interval.total_seconds() * 1000))),
    }


def _replace_variables(sql: str, variables: Mapping[str, Variable]) -> str:
    def value(match: re.Match[str]) -> str:
        variable = variables.get(match["plain"] or match["old"] or match["braced"])
        return match.group() if variable is None else _formatted(variable, match["format"])

    return _NAME.sub(value, sql)


def _formatted(variable: Variable, format_: str | None) -> str:
    single = isinstance(variable.value, str)
    values = [variable.value] if isinstance(variable.value, str) else list(variable.value)
    if format_ == "csv":
        return ",".join(values)
    if format_ == "sqlstring" or (format_ is None and (not single or variable.multi or variable.include_all)):
        return ",".join(_literal(each) for each in values)
    if format_ is None:
        return values[0].replace("'", "''")
    raise MacroError(f"these tests do not know the format {format_!r} of a variable")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# ---------------------------------------------------------------------------------------------------- in the server

_MACRO = re.compile(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)")
_DATE_UNIT = re.compile(r"(\d+)([dwMy])")
_DURATION_UNIT = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def parse_interval(text: str) -> timedelta:
    """Return an interval such as 5m, 1h30m, 20ms or 12d (ParseInterval; months and years are not used here)."""
    date = _DATE_UNIT.fullmatch(text)
    if date is not None and date[2] in "dw":
        return timedelta(seconds=int(date[1]) * _UNITS_S[date[2]])
    parts = _DURATION_UNIT.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise MacroError(f"error parsing interval {text}")
    return timedelta(seconds=sum(float(number) * _UNITS_S[unit] for number, unit in parts))


def format_interval(interval: timedelta) -> str:
    """Return an interval in its largest whole unit (FormatInterval)."""
    seconds = interval.total_seconds()
    for unit, length_s in (("y", 365 * 86_400.0), ("d", 86_400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0)):
        if seconds >= length_s:
            return f"{int(seconds // length_s)}{unit}"
    return f"{max(int(seconds * 1000), 1)}ms"


class _Macros:
    """One pass over one query."""

    def __init__(self, shown: TimeRange) -> None:
        self._shown = shown
        self._fill: Fill | None = None

    def interpolate(self, sql: str) -> Expanded:
        def value(match: re.Match[str]) -> str:
            name = match[1]
            # A macro right before a comma names its column itself, as before Grafana 5.3. Its first place decides.
            if name == "__timeGroup" and sql[sql.index(match.group()) + len(match.group()) :].startswith(","):
                name = "__timeGroupAlias"
            return self._evaluate(name, [each.strip(" ") for each in match[2].split(",")])

        return Expanded(_MACRO.sub(value, sql), self._fill)

    def _evaluate(self, name: str, given: list[str]) -> str:
        begin, end = self._shown.begin, self._shown.end
        first = given[0]
        match name:
            case "__time":
                return f'{first} AS "time"'
            case "__timeEpoch":
                return f'extract(epoch from {first}) as "time"'
            case "__timeFilter":
                return f"{first} BETWEEN '{_rfc3339(begin)}' AND '{_rfc3339(end)}'"
            case "__timeFrom":
                return f"'{_rfc3339(begin)}'"
            case "__timeTo":
                return f"'{_rfc3339(end)}'"
            case "__timeGroup":
                return f"time_bucket('{self._group(name, given).total_seconds():.3f}s',{first})"
            case "__unixEpochGroup":
                seconds = f"{self._group(name, given).total_seconds():g}"
                return f"floor(({first})/{seconds})*{seconds}"
            case "__timeGroupAlias" | "__unixEpochGroupAlias":
                return self._evaluate(name.removesuffix("Alias"), given) + ' AS "time"'
        return self._evaluate_epoch(name, first)

    def _evaluate_epoch(self, name: str, column: str) -> str:
        begin, end = self._shown.begin, self._shown.end
        match name:
            case "__unixEpochFilter":
                return f"{column} >= {_epoch_s(begin)} AND {column} <= {_epoch_s(end)}"
            case "__unixEpochNanoFilter":
                return f"{column} >= {_epoch_ns(begin)} AND {column} <= {_epoch_ns(end)}"
            case "__unixEpochNanoFrom":
                return str(_epoch_ns(begin))
            case "__unixEpochNanoTo":
                return str(_epoch_ns(end))
        raise MacroError(f'unknown macro "{name}"')

    def _group(self, name: str, given: list[str]) -> timedelta:
        if len(given) < 2:
            raise MacroError(f"macro {name} needs time column and interval and optional fill value")
        interval = parse_interval(given[1].strip("'"))
        if len(given) == 3:
            self._fill = _fill(interval, given[2])
        return interval


def _fill(interval: timedelta, mode: str) -> Fill:
    if mode in {"NULL", "previous"}:
        return Fill(interval, mode.lower())
    try:
        return Fill(interval, "value", float(mode))
    except ValueError:
        raise MacroError(f"error parsing fill value {mode}") from None


def _rfc3339(instant: datetime) -> str:
    """Go's time.RFC3339Nano in UTC: as many digits of the second as it has."""
    text = instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{instant.microsecond:06d}".rstrip("0") if instant.microsecond else "") + "Z"


def _epoch_s(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(seconds=1)


def _epoch_ns(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(microseconds=1) * 1000
