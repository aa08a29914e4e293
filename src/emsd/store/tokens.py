"""Bearer tokens of the API: made here, shown once, kept as a digest only."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from emsd.errors import StoreError
from emsd.store.pool import Pool, session
from emsd.store.reads import READ_TIMEOUT_S

__all__ = ["TOKEN_PREFIX", "TokenRow", "create_token", "list_tokens", "revoke_token", "verify_token"]

TOKEN_PREFIX: Final = "emsd_"  # noqa: S105 - no secret
"""Lets secret scanners, and people, see what a leaked string is."""
_TOKEN_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class TokenRow:
    """What is known of a token; never the token itself."""

    token_id: int
    name: str
    created_at: datetime
    revoked_at: datetime | None


async def create_token(pool: Pool, name: str) -> str:
    """Make a token of 256 random bits and return it; this is the only time that it can be seen.

    Raises:
        StoreError: a token of this name exists.
        StoreUnavailable: the database cannot be reached now.
    """
    token = TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    async with session(pool, "create a token", timeout_s=READ_TIMEOUT_S) as connection:
        try:
            await connection.execute("INSERT INTO api_token (name, sha256) VALUES ($1, $2)", name, _digest(token))
        except asyncpg.UniqueViolationError:
            raise StoreError(f"there is a token named {name!r} already; choose another name") from None
    return token


async def verify_token(pool: Pool, token: str) -> TokenRow | None:
    """Return the token's row, None when it is unknown or revoked.

    The lookup is by digest, so its time tells nothing of the token: who can steer a SHA-256 digest byte by byte needs
    no token. A token of 256 random bits needs no slow hash.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "look up a token", timeout_s=READ_TIMEOUT_S) as connection:
        row = await connection.fetchrow(
            "SELECT token_id, name, created_at, revoked_at FROM api_token WHERE sha256 = $1 AND revoked_at IS NULL",
            _digest(token),
        )
    return None if row is None else TokenRow(**dict(row))


async def revoke_token(pool: Pool, name: str) -> bool:
    """Revoke the token of this name from now on; False when there is none that is still valid.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "look up a token", timeout_s=READ_TIMEOUT_S) as connection:
        status = await connection.execute(
            "UPDATE api_token SET revoked_at = now() WHERE name = $1 AND revoked_at IS NULL", name
        )
    return status == "UPDATE 1"


async def list_tokens(pool: Pool) -> list[TokenRow]:
    """Return every token ever made, the oldest first.

    Raises:
        StoreUnavailable: the database cannot be reached now.
    """
    async with session(pool, "look up a token", timeout_s=READ_TIMEOUT_S) as connection:
        rows = await connection.fetch("SELECT token_id, name, created_at, revoked_at FROM api_token ORDER BY token_id")
    return [TokenRow(**dict(row)) for row in rows]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
