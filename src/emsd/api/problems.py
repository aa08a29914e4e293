"""Every error as application/problem+json (RFC 9457), with the cure in the text and never a stack trace."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any, Final, NoReturn

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from emsd.errors import AlarmRefused, EmsdError, LedgerRefused, StoreUnavailable, UnknownAlarm, UnknownEntry

__all__ = [
    "MEDIA_TYPE",
    "SECURITY_HEADERS",
    "Problem",
    "install_problem_handlers",
    "problem_responses",
    "raise_unknown",
]

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 5
_LONGEST_ECHO: Final = 100
SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}

_log = structlog.get_logger(__name__)

_CURES: Final = {
    "missing": "add it",
    "datetime": "write an instant with its offset, such as 2026-01-31T08:00:00Z; a + must be sent as %2B",
    "timezone": "write an instant with its offset, such as 2026-01-31T08:00:00Z; a + must be sent as %2B",
    "int": "write a whole number",
    "json": "send a JSON object",
    "extra": "leave it out",
    "model": "send a JSON object with the header Content-Type: application/json",
    "dict": "send a JSON object with the header Content-Type: application/json",
}
_ANY_CURE: Final = "see /openapi.json for what is allowed"

_MEANINGS: Final = {
    400: "The body is not JSON in UTF-8.",
    401: "No valid bearer token came with the request.",
    404: "There is no such thing; the detail names what is close to it.",
    409: "The present state does not allow this.",
    413: "The body is larger than any operation takes.",
    422: "A parameter or the body is wrong; `errors` names each field with its cure.",
    503: "The database cannot be reached now; try again after `Retry-After` seconds.",
}

# What the framework says too shortly.
_DETAILS: Final = {
    400: "the body is not JSON in UTF-8; send a JSON object",
    404: "there is no such path; /openapi.json lists them all",
    405: "this path does not take this method; Allow says which it takes",
}


class Problem(HTTPException):
    """An answer that says what is wrong and what to do; `members` are further members of the problem object."""

    def __init__(
        self,
        status: HTTPStatus,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, detail, dict(headers) if headers else None)
        self.kind = kind
        self.members = dict(members or {})


def raise_unknown(what: str, key: str, known: Iterable[str]) -> NoReturn:
    """Answer 404 and name the known keys that are close to the one asked for.

    Raises:
        Problem: always.
    """
    close = get_close_matches(key, list(known), n=3, cutoff=0.65)
    detail = f"there is no {what} {_echo(key)!r}"
    if close:
        detail += f"; did you mean {' or '.join(close)}?"
    raise Problem(HTTPStatus.NOT_FOUND, f"unknown-{what.replace(' ', '-')}", detail, members={"did_you_mean": close})


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of the problems that an operation can answer with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetail"}}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every error of `app` with a problem object."""

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        if isinstance(error, Problem):
            return _respond(request, status, error.kind, str(error.detail), error.headers, error.members)
        detail = _DETAILS.get(status, str(error.detail))
        return _respond(request, status, "about:blank", detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def on_validation(request: Request, error: RequestValidationError) -> Response:
        errors = [_field_error(each) for each in error.errors()]
        detail = "; ".join(f"{each['field']}: {each['problem']}, {each['cure']}" for each in errors[:3])
        return _respond(request, HTTPStatus(422), "invalid-request", detail, None, {"errors": errors})

    @app.exception_handler(StoreUnavailable)
    async def on_store_unavailable(request: Request, error: StoreUnavailable) -> Response:
        # The cause names addresses and users; it belongs in the log, not in an answer to anybody.
        _log.warning("api_database_unavailable", path=request.url.path, error=str(error))
        return _respond(
            request,
            HTTPStatus.SERVICE_UNAVAILABLE,
            "database-unavailable",
            f"the database cannot be reached now; try again in {RETRY_AFTER_S} s",
            {"Retry-After": str(RETRY_AFTER_S)},
        )

    @app.exception_handler(UnknownAlarm)
    async def on_unknown_alarm(request: Request, error: UnknownAlarm) -> Response:
        return _respond(request, HTTPStatus.NOT_FOUND, "unknown-alarm", str(error))

    @app.exception_handler(AlarmRefused)
    async def on_alarm_refused(request: Request, error: AlarmRefused) -> Response:
        return _respond(request, HTTPStatus.CONFLICT, "alarm-refused", str(error))

    @app.exception_handler(UnknownEntry)
    async def on_unknown_entry(request: Request, error: UnknownEntry) -> Response:
        return _respond(request, HTTPStatus.NOT_FOUND, "unknown-entry", str(error))

    @app.exception_handler(LedgerRefused)
    async def on_ledger_refused(request: Request, error: LedgerRefused) -> Response:
        return _respond(request, HTTPStatus.CONFLICT, "ledger-refused", str(error))

    @app.exception_handler(EmsdError)
    @app.exception_handler(Exception)
    async def on_any(request: Request, error: Exception) -> Response:
        _log.error("api_request_failed", path=request.url.path, error=repr(error), exc_info=error)
        return _respond(
            request,
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "internal",
            "the service failed on this request; its log says why (event api_request_failed)",
            # This answer is made outside all middleware.
            SECURITY_HEADERS,
        )


def _respond(
    request: Request,
    status: HTTPStatus,
    kind: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> Response:
    body = {
        "type": kind if kind == "about:blank" else f"urn:emsd:problem:{kind}",
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
        "instance": request.url.path,
        **(members or {}),
    }
    # ASCII on purpose: an echoed value may hold half a surrogate pair, which no UTF-8 can carry.
    return Response(json.dumps(body), status, dict(headers or {}), MEDIA_TYPE)


def _field_error(error: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(error["type"])
    shown: dict[str, Any] = {"field": _field(error["loc"]), "problem": str(error["msg"])}
    if isinstance(error.get("input"), str | int | float | bool):
        shown["value"] = _echo(str(error["input"]))
    shown["cure"] = next((cure for start, cure in _CURES.items() if kind.startswith(start)), _ANY_CURE)
    return shown


def _field(location: Sequence[Any]) -> str:
    return ".".join(str(part) for part in location)


def _echo(value: str) -> str:
    return value if len(value) <= _LONGEST_ECHO else value[:_LONGEST_ECHO] + "..."
