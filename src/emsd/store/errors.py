"""What the database's refusals mean to the rest of emsd, decided in one place.

StoreUnavailable: the server will recover or be brought back, or the same call may succeed. SQLSTATE classes 08
(connection) and 53 (disk full, memory, too many connections); 57014 and 57P01, 57P02, 57P03, 57P05 (cancelled, shut
down); 58030 (I/O); 40001, 40003, 40P01, 55P03 (serialization, deadlock, lock time-out); 25006 (a standby); and whatever
the operating system says of the connection.

BadRow: the row is at fault whenever it is tried. Classes 22 (data), 23 (constraint), 54 (limit), P0 (raised by a
trigger), and values that asyncpg cannot encode.

StoreError: all others (no such table, no privilege, wrong password); a person must act.

SQLSTATE: PostgreSQL documentation, appendix A.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from emsd.errors import BadRow, StoreError, StoreUnavailable

__all__ = ["store_errors"]

UNAVAILABLE_CLASSES: Final = frozenset({"08", "53"})
UNAVAILABLE_STATES: Final = frozenset(
    {"25006", "40001", "40003", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "57P05", "58030"}
)
BAD_ROW_CLASSES: Final = frozenset({"22", "23", "54", "P0"})
# Of class 53, but set by a configuration that no waiting changes.
CONFIGURATION_LIMIT_EXCEEDED: Final = "53400"
# The service tries again by itself; a command has ended, and its reader must.
TRY_AGAIN: Final = "try again when the database answers"


@contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Turn what asyncpg and the operating system raise into emsd's store errors; `doing` completes "could not ...".

    Raises:
        StoreUnavailable: trying again later helps.
        BadRow: a value in the statement can never be stored.
        StoreError: the database refuses until a person acts.
    """
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _from_server(error, doing) from error
    # asyncpg's DataError and ClientConfigurationError are both its InterfaceError and a ValueError.
    except asyncpg.DataError as error:
        raise BadRow(f"could not {doing}: {error}") from error
    except asyncpg.InterfaceError as error:
        if isinstance(error, ValueError):
            raise StoreError(f"could not {doing}: {error}; check EMSD_DATABASE_URL") from error
        # What else asyncpg says of its own is that the connection or the pool has been closed under the caller.
        raise StoreUnavailable(f"could not {doing}: {error}; {TRY_AGAIN}") from error
    except asyncpg.InternalClientError as error:
        raise StoreUnavailable(f"could not {doing}: the connection broke ({error}); {TRY_AGAIN}") from error
    except OSError as error:  # refused, reset, no route, name unknown, and every time-out
        reason = str(error) or type(error).__name__
        raise StoreUnavailable(f"could not {doing}: {reason}; {TRY_AGAIN}") from error


def _from_server(error: asyncpg.PostgresError, doing: str) -> StoreError:
    state = error.sqlstate or ""
    text = f"could not {doing}: {error} (SQLSTATE {state or 'unknown'})"
    if state == CONFIGURATION_LIMIT_EXCEEDED:
        return StoreError(f"{text}; raise that limit of the server")
    if state[:2] in UNAVAILABLE_CLASSES or state in UNAVAILABLE_STATES:
        return StoreUnavailable(f"{text}; {TRY_AGAIN}")
    if state[:2] in BAD_ROW_CLASSES:
        return BadRow(text)
    if state[:2] in {"28", "3D"} or state == "57P04":
        return StoreError(f"{text}; check EMSD_DATABASE_URL")
    return StoreError(f"{text}; run `emsd migrate` and check the rights of the database user")
