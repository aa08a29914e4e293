"""Who may write, and the headers that keep a browser from doing harm."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final, TypeAlias

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emsd.api.dependencies import Given
from emsd.api.problems import SECURITY_HEADERS, Problem
from emsd.store.tokens import TokenRow, verify_token

__all__ = ["BodyLimit", "SecurityHeaders", "Writer"]

LARGEST_BODY_BYTES: Final = 64 * 1024
"""The longest note that is accepted takes less than half of it."""

_BEARER = HTTPBearer(
    auto_error=False,
    description="A token made with `emsd token create NAME`; send it as `Authorization: Bearer emsd_...`.",
)


async def _writer(
    given: Given, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
) -> TokenRow:
    """Answer 401 unless the request carries a valid token (RFC 6750, section 3)."""
    if credentials is None:
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "token-missing",
            "this writes, so it needs a token; make one with `emsd token create NAME` and send it as "
            "Authorization: Bearer emsd_...",
            headers={"WWW-Authenticate": 'Bearer realm="emsd"'},
        )
    token = await verify_token(given.pool, credentials.credentials)
    if token is None:
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "token-invalid",
            "this token is unknown or revoked; `emsd token list` shows those that are valid",
            headers={"WWW-Authenticate": 'Bearer realm="emsd", error="invalid_token"'},
        )
    return token


Writer: TypeAlias = Annotated[TokenRow, Depends(_writer)]
"""The token of a request that may write."""

# FastAPI's page at /docs loads Swagger UI from this CDN and starts it with an inline script.
_DOCS_POLICY: Final = (
    "default-src 'none'; script-src https://cdn.jsdelivr.net 'unsafe-inline'; "
    "style-src https://cdn.jsdelivr.net 'unsafe-inline'; img-src https://fastapi.tiangolo.com data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)


class BodyLimit:
    """Answers 413 to a body that is larger than any operation takes, as soon as that is seen.

    FastAPI's own limit answers in plain text.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        received_bytes = 0

        async def limited() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > LARGEST_BODY_BYTES:
                raise Problem(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    "body-too-large",
                    f"the body is larger than {LARGEST_BODY_BYTES} bytes; send less",
                )
            return message

        await self._app(scope, limited, send)


class SecurityHeaders:
    """Adds headers to every answer; written for ASGI itself, so that streams pass through untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"] == "/docs":
                    headers["Content-Security-Policy"] = _DOCS_POLICY
            await send(message)

        await self._app(scope, receive, send_with_headers)
