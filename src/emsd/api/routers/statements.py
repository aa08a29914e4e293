"""Statements of the carbon ledger: what was reported, and whether it holds."""

from __future__ import annotations

import base64
import json
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Depends, Path, Response

from emsd.api.dependencies import Given
from emsd.api.parameters import refuse_unknown_parameters
from emsd.api.problems import problem_responses
from emsd.api.schemas.statement import ChangeEntry, StatementDetail, StatementList, StatementProof, StatementSummary
from emsd.signing import fingerprint_of
from emsd.statements import changes_since, check_statement
from emsd.store.statements import StatementRow, list_statements, statement_numbered

__all__ = ["router"]

router = APIRouter(
    prefix="/api/v1/carbon/statements", tags=["carbon"], dependencies=[Depends(refuse_unknown_parameters)]
)

StatementId: TypeAlias = Annotated[int, Path(ge=1, le=2**63 - 1, description="Number of the statement.", examples=[1])]


@router.get("", summary="Statements", responses=problem_responses(422, 503))
async def statements(given: Given) -> StatementList:
    """Return every statement of the site in the order in which they were made, without their documents."""
    rows = await list_statements(given.pool, given.site_id)
    return StatementList(statements=[StatementSummary(**_summary(row)) for row in rows])


@router.get("/{statement_id}", summary="One statement", responses=problem_responses(404, 422, 503))
async def statement(statement_id: StatementId, given: Given) -> StatementDetail:
    """Return a statement with everything that was frozen in it, and its signature."""
    row = await statement_numbered(given.pool, given.site_id, statement_id)
    return StatementDetail(
        **_summary(row), signature=base64.b64encode(row.signature).decode(), document=json.loads(row.document)
    )


@router.get(
    "/{statement_id}/document",
    summary="The signed document",
    response_class=Response,
    responses={
        200: {"content": {"application/json": {"schema": {"type": "object"}}}, "description": "Canonical JSON."},
        **problem_responses(404, 422, 503),
    },
)
async def document(statement_id: StatementId, given: Given) -> Response:
    """Return the bytes that were hashed and signed, for whoever checks them with tools of their own."""
    row = await statement_numbered(given.pool, given.site_id, statement_id)
    return Response(row.document, media_type="application/json")


@router.get("/{statement_id}/verification", summary="Check a statement", responses=problem_responses(404, 422, 503))
async def verification(statement_id: StatementId, given: Given) -> StatementProof:
    """Check digest, signature and chain, compute the figures again bit by bit, and list what has changed since."""
    row = await statement_numbered(given.pool, given.site_id, statement_id)
    proof = await check_statement(row, await list_statements(given.pool, given.site_id))
    changes = await changes_since(given.pool, row, now=given.now()) if proof.holds else []
    return StatementProof(
        statement_id=statement_id,
        holds=proof.holds,
        problems=list(proof.problems),
        key_fingerprint=proof.fingerprint,
        changed_since=[ChangeEntry(what=each.what, before=each.before, after=each.after) for each in changes],
    )


def _summary(row: StatementRow) -> dict[str, object]:
    fields: dict[str, object] = {
        name: getattr(row, name) for name in StatementSummary.model_fields if name != "key_fingerprint"
    }
    return {**fields, "key_fingerprint": fingerprint_of(row.public_key)}
