"""Statements of the carbon ledger, as they are answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from emsd.api.schemas.answer import Answer

__all__ = [
    "ChangeEntry",
    "StatementDetail",
    "StatementList",
    "StatementProof",
    "StatementSummary",
]


class StatementSummary(Answer):
    """A statement, without its document."""

    statement_id: int = Field(examples=[3])
    period_from: datetime
    period_to: datetime
    author: str
    created_at: datetime
    sha256: str
    previous_sha256: str | None
    restates: int | None = Field(description="The statement that this one replaces.")
    reason: str | None
    restated_by: int | None = Field(description="The statement that replaces this one.")
    public_key: str = Field(description="Ed25519, 32 bytes in base64.")
    key_fingerprint: str


class StatementList(Answer):
    """Statements in the order in which they were made."""

    statements: list[StatementSummary]


class StatementDetail(StatementSummary):
    """A statement with its figures."""

    signature: str = Field(description="Of the document, 64 bytes in base64.")
    document: dict[str, Any] = Field(description="What was signed; numbers are exact decimals as text.")


class ChangeEntry(Answer):
    """Something that the database says otherwise today."""

    what: str
    before: str | None
    after: str | None


class StatementProof(Answer):
    """What checking a statement showed."""

    statement_id: int
    holds: bool = Field(description="Digest, signature, chain and recomputation are all right.")
    problems: list[str]
    key_fingerprint: str = Field(description="Compare it with the one on paper.")
    changed_since: list[ChangeEntry] = Field(description="What it rests on and is not so any more; no fault of it.")
