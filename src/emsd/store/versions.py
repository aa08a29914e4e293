"""By which rules the readings of each meter became energy, and what history other rules have made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from emsd.store.pool import Session

__all__ = ["AccountingVersion", "StaleHistory", "latest_versions", "register_versions", "stale_history"]


@dataclass(frozen=True, slots=True)
class AccountingVersion:
    """Rules of one meter under the number that interval rows carry."""

    version_id: int
    meter_id: int
    fingerprint: str
    rules: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StaleHistory:
    """Quarter hours of one meter that other rules than today's have made.

    `rules` are those rules; None when they were made before versions were recorded.
    """

    meter_id: int
    first: datetime
    last: datetime
    quarter_hours: int
    version_id: int | None
    rules: Mapping[str, Any] | None


async def latest_versions(connection: Session, meter_ids: Sequence[int]) -> dict[int, AccountingVersion]:
    """Return the latest version of each meter that has one."""
    rows = await connection.fetch(
        "SELECT DISTINCT ON (meter_id) version_id, meter_id, fingerprint, rules FROM accounting_version"
        " WHERE meter_id = ANY($1::integer[]) ORDER BY meter_id, version_id DESC",
        meter_ids,
    )
    return {
        row["meter_id"]: AccountingVersion(
            row["version_id"], row["meter_id"], row["fingerprint"], json.loads(row["rules"])
        )
        for row in rows
    }


async def register_versions(
    connection: Session, code_version: int, wanted: Mapping[int, tuple[str, Mapping[str, Any]]]
) -> dict[int, int]:
    """Record new rules, (fingerprint, rules) by meter; return their numbers."""
    rows = await connection.fetch(
        "INSERT INTO accounting_version (meter_id, code_version, fingerprint, rules)"
        " SELECT meter_id, $1, fingerprint, rules::jsonb"
        " FROM unnest($2::integer[], $3::text[], $4::text[]) AS wanted (meter_id, fingerprint, rules)"
        " RETURNING meter_id, version_id",
        code_version,
        list(wanted),
        [fingerprint for fingerprint, _ in wanted.values()],
        [json.dumps(rules) for _, rules in wanted.values()],
    )
    return {row["meter_id"]: row["version_id"] for row in rows}


# Quarter hours and not days: a row names the oldest version of what it is made of, and a day may hold several.
_STALE: Final = """
SELECT made.*, version.rules
FROM (
    SELECT meter_id, version, min(bucket) AS first, max(bucket) AS last, count(*) AS quarter_hours
    FROM interval_15m WHERE meter_id = ANY($1::integer[]) GROUP BY meter_id, version
) AS made
LEFT JOIN accounting_version AS version ON version.version_id = made.version
JOIN unnest($1::integer[], $2::text[]) AS today (meter_id, fingerprint) ON today.meter_id = made.meter_id
WHERE version.fingerprint IS DISTINCT FROM today.fingerprint
ORDER BY made.meter_id, made.first
"""


async def stale_history(connection: Session, fingerprints: Mapping[int, str]) -> list[StaleHistory]:
    """Return which history of the meters other rules have made than those with today's fingerprints."""
    rows = await connection.fetch(_STALE, list(fingerprints), list(fingerprints.values()))
    return [
        StaleHistory(
            row["meter_id"],
            row["first"],
            row["last"],
            row["quarter_hours"],
            row["version"],
            None if row["rules"] is None else json.loads(row["rules"]),
        )
        for row in rows
    ]
