"""Rules that the query parameters of every operation share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeAlias

from fastapi import Path, Query, Request
from pydantic import AwareDatetime

from emsd.api.problems import Problem

__all__ = ["FromTime", "MeterKey", "TimeRange", "ToTime", "refuse", "refuse_unknown_parameters", "time_range"]

_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)

FromTime: TypeAlias = Annotated[
    AwareDatetime | None,
    Query(alias="from", description="Begin, inclusive, with its offset.", examples=["2026-01-31T08:00:00Z"]),
]
ToTime: TypeAlias = Annotated[
    AwareDatetime | None,
    Query(alias="to", description="End, exclusive; absent: now.", examples=["2026-01-31T09:00:00Z"]),
]
MeterKey: TypeAlias = Annotated[
    str, Path(max_length=80, description="Key of a meter, as in the plant's configuration.", examples=["incomer"])
]


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Instants [from_, to) in UTC."""

    from_: datetime
    to: datetime

    @property
    def length(self) -> timedelta:
        """Elapsed time."""
        return self.to - self.from_


def refuse(field: str, problem: str, cure: str) -> Problem:
    """Return the 422 that says what is wrong with one parameter and what to write instead."""
    return Problem(
        HTTPStatus(422),
        "invalid-request",
        f"{field}: {problem}, {cure}",
        members={"errors": [{"field": field, "problem": problem, "cure": cure}]},
    )


def time_range(
    from_: datetime | None, to: datetime | None, *, now: datetime, default: timedelta, longest: timedelta, cure: str
) -> TimeRange:
    """Complete and check a range: `default` long when it has no beginning, never longer than `longest`.

    Raises:
        Problem: 422, it is empty, backwards, outside 2000..2100 or too long; `cure` says what to do in that case.
    """
    for field, instant in (("query.from", from_), ("query.to", to)):
        if instant is not None and not _EARLIEST <= instant <= _LATEST:
            raise refuse(field, "is not between the years 2000 and 2100", "check the year")
    end = now if to is None else to.astimezone(UTC)
    begin = end - default if from_ is None else from_.astimezone(UTC)
    if begin >= end:
        raise refuse(
            "query.from", f"{begin.isoformat()} is not before the end {end.isoformat()}", "let it begin before it ends"
        )
    if end - begin > longest:
        raise refuse("query.from", f"the range is longer than {longest}", cure)
    return TimeRange(begin, end)


async def refuse_unknown_parameters(request: Request) -> None:
    """Answer 422 to a query parameter that the operation does not have: a typo must not pass for "no filter".

    What it may have stands in the OpenAPI document, so what is documented is what is accepted.
    """
    if not request.query_params:
        return
    operation: Mapping[str, Any] = request.app.openapi()["paths"][request.scope["route"].path][request.method.lower()]
    known = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
    for name in request.query_params:
        if name not in known:
            close = get_close_matches(name, known, n=1, cutoff=0.5)
            cure = f"did you mean {close[0]}?" if close else f"it takes {', '.join(known) or 'none'}"
            raise refuse(f"query.{name[:100]}", "is no parameter of this operation", cure)
