"""A statement: the inputs of a ledger, its figures, and what proves that neither was changed afterwards.

inputs --compute--> results          both in the document, which has one spelling only (canonical JSON)
SHA-256 of the document              names the statement; the next one holds it, so that none can be taken out
Ed25519 signature of the document    by a key that is neither in the database nor in the repository
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from emsd.energy.ledger.compute import compute
from emsd.energy.ledger.exact import Instant, Record, canonical_json
from emsd.energy.ledger.gwp import GWP_SOURCES
from emsd.energy.ledger.inputs import LedgerInputs
from emsd.energy.ledger.results import LedgerResults

__all__ = ["FORM", "Methods", "Restatement", "Statement", "make_statement", "read_statement", "recomputes", "sha256_of"]

FORM: Final = "emsd carbon statement 1"
"""Names the layout of the document and the arithmetic behind it; a change of either gets a new number."""


class Methods(Record):
    """What the figures are, in words."""

    energy: str
    location_based: str
    market_based: str
    scope1: str
    avoided: str
    gwp: str


class Restatement(Record):
    """Which statement this one replaces, and why."""

    statement_id: int
    sha256: str
    reason: str


class Statement(Record):
    """The whole document."""

    form: str
    software: str
    author: str
    created_at: Instant
    methods: Methods
    inputs: LedgerInputs
    results: LedgerResults
    previous_sha256: str | None
    restates: Restatement | None
    public_key: str
    key_fingerprint: str


def make_statement(
    inputs: LedgerInputs,
    *,
    software: str,
    author: str,
    created_at: datetime,
    previous_sha256: str | None,
    restates: Restatement | None,
    public_key: str,
    key_fingerprint: str,
) -> bytes:
    """Return the document of a statement in its only spelling; this is what is hashed, signed and stored.

    Raises:
        ValueError: the period is not over yet.
    """
    if inputs.period_to > created_at:
        raise ValueError(f"the period ends at {inputs.period_to.isoformat()}, which is not past yet")
    statement = Statement(
        form=FORM,
        software=software,
        author=author,
        created_at=created_at,
        methods=_methods(inputs),
        inputs=inputs,
        results=compute(inputs),
        previous_sha256=previous_sha256,
        restates=restates,
        public_key=public_key,
        key_fingerprint=key_fingerprint,
    )
    return canonical_json(statement.model_dump(mode="json"))


def read_statement(document: bytes) -> Statement:
    """Return the statement that a document holds.

    Raises:
        ValueError: it is none, or of another form.
    """
    try:
        data: Any = json.loads(document)
        if not isinstance(data, dict) or data.get("form") != FORM:
            raise ValueError(f"the document is not of the form {FORM!r}; another version of emsd made it")
        return Statement.model_validate(data)
    except ValidationError as error:
        raise ValueError(
            f"the document is no statement: {error.errors()[0]['loc']} {error.errors()[0]['msg']}"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"the document is not JSON: {error}") from None


def recomputes(document: bytes) -> bool:
    """Say whether the frozen inputs give the document again, bit by bit.

    Raises:
        ValueError: it is no statement.
    """
    statement = read_statement(document)
    again = statement.model_copy(update={"results": compute(statement.inputs), "methods": _methods(statement.inputs)})
    return canonical_json(again.model_dump(mode="json")) == document


def sha256_of(document: bytes) -> str:
    """Return the SHA-256 of a document in hexadecimal."""
    return hashlib.sha256(document).hexdigest()


def _methods(inputs: LedgerInputs) -> Methods:
    site = inputs.site
    return Methods(
        location_based=f"GHG Protocol Scope 2 Guidance: energy from the grid x average factor of {site.carbon_region}",
        market_based=(
            "GHG Protocol Scope 2 Guidance: certificates, then contracts, then the supplier's factor, then the residual"
            f" mix of {site.residual_region}, else the location-based factor; matched {inputs.matching}"
        ),
        scope1=(
            "IPCC 2019 Refinement, volume 3, chapter 6, Tier 2a for process gases; amount x factor for fuels, with"
            " methane and nitrous oxide where the publication has them; losses as they are"
        ),
        energy=(
            "15-minute intervals of the meters that spoke for the site at the time; gaps of up to an hour are spread"
            " evenly, longer ones estimated by like days; estimated parts are stated beside every line"
        ),
        avoided="own PV used on site and not sold x location-based factor; beside the inventory, never inside",
        gwp=f"{inputs.gwp_set}, 100 years: {GWP_SOURCES[inputs.gwp_set]}",
    )
