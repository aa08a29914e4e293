"""A figure of the carbon ledger explained, as the database says it now, or as a statement froze it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, datetime
from decimal import localcontext
from typing import Literal, TypeAlias

from emsd.api.explained.form import Explanation, Part, Rule, Source, judged, known_sum
from emsd.api.explained.scope1 import scope1_parts, scope1_sources
from emsd.api.explained.scope2 import location_parts, market_parts, meter_sources, scope2_sources
from emsd.energy.ledger import LedgerInputs, LedgerResults, compute
from emsd.energy.ledger.exact import CONTEXT
from emsd.energy.ledger.gwp import GWP_SOURCES
from emsd.energy.ledger.scope2 import scope2
from emsd.errors import LedgerRefused
from emsd.statements import check_statement
from emsd.store.carbon import read_ledger_inputs
from emsd.store.pool import Pool
from emsd.store.statements import list_statements, statement_numbered

__all__ = ["LedgerFigure", "explain_ledger", "explain_statement"]

LedgerFigure: TypeAlias = Literal["location", "market", "scope1"]

_NAMES: dict[LedgerFigure, tuple[str, str]] = {
    "location": ("Scope 2, location-based", "total.location_kg"),
    "market": ("Scope 2, market-based", "total.market_kg"),
    "scope1": ("Scope 1", "total.scope1_kg"),
}
_METHOD = "GHG Protocol Scope 2 Guidance, 2015"


async def explain_ledger(
    pool: Pool, site_id: int, wanted: LedgerFigure, first_day: date, end_day: date, *, now: datetime
) -> Explanation:
    """Return a figure of the ledger of the local days [first_day, end_day), up to now where it is running.

    Raises:
        StoreError: an activity in the database cannot be computed.
        LedgerRefused: the period has not begun.
        StoreUnavailable: the database cannot be reached now.
    """
    inputs = await read_ledger_inputs(pool, site_id, first_day, end_day, now=now)
    results = await asyncio.to_thread(compute, inputs)
    return await asyncio.to_thread(_explained, inputs, results, wanted, "/api/v1/carbon/ledger", (), ())


async def explain_statement(pool: Pool, site_id: int, wanted: LedgerFigure, statement_id: int) -> Explanation:
    """Return a figure of a statement, from what was frozen in it, and whether the statement holds.

    Raises:
        UnknownEntry: there is no such statement.
        LedgerRefused: another version of emsd made it.
        StoreUnavailable: the database cannot be reached now.
    """
    row = await statement_numbered(pool, site_id, statement_id)
    proof = await check_statement(row, await list_statements(pool, site_id))
    try:
        content = row.content()
    except ValueError as error:
        raise LedgerRefused(f"statement {statement_id} cannot be explained: {error}") from error
    facts = {
        "author": row.author,
        "created_at": row.created_at.isoformat(),
        "sha256": row.sha256,
        "key_fingerprint": proof.fingerprint,
        "holds": proof.holds,
        "restates": row.restates,
        "restated_by": row.restated_by,
    }
    source = Source(
        kind="statement",
        name=f"statement {statement_id}",
        facts=facts,
        explain=f"/api/v1/carbon/statements/{statement_id}/verification",
    )
    problems = [f"the statement does not hold: {each}" for each in proof.problems]
    if row.restated_by is not None:
        problems.append(f"statement {row.restated_by} replaces this one")
    field = f"/api/v1/carbon/statements/{statement_id} document.results."
    return await asyncio.to_thread(_explained, content.inputs, content.results, wanted, field, (source,), problems)


def _explained(
    inputs: LedgerInputs,
    results: LedgerResults,
    wanted: LedgerFigure,
    answered_by: str,
    sources: Sequence[Source],
    problems: Sequence[str],
) -> Explanation:
    with localcontext(CONTEXT):
        parts, found = _parts(inputs, wanted)
    exact = {
        "location": results.total.location_kg,
        "market": results.total.market_kg,
        "scope1": results.total.scope1_kg,
    }[wanted]
    figure = None if exact is None else float(exact)
    recomputed = known_sum(each.figure for each in parts if each.sign)
    if recomputed is None and figure == 0:
        recomputed = 0.0  # there was nothing to emit for
    agrees, remark = judged(figure, recomputed, "kgCO2e", [*problems, *_about(results, wanted)])
    name, field = _NAMES[wanted]
    return Explanation(
        kind="carbon",
        of=f"{name} of {inputs.site.name}",
        field=f"{answered_by} {field}" if answered_by.endswith("ledger") else f"{answered_by}{field}",
        from_=inputs.period_from,
        to=inputs.period_to,
        time_zone=inputs.site.time_zone,
        figure=figure,
        unit="kgCO2e",
        recomputed=recomputed,
        agrees=agrees,
        remark=remark,
        parts=parts,
        rules=_rules(inputs, wanted),
        sources=[*sources, *found],
    )


def _parts(inputs: LedgerInputs, wanted: LedgerFigure) -> tuple[list[Part], list[Source]]:
    if wanted == "scope1":
        return scope1_parts(inputs), scope1_sources(inputs)
    electricity = scope2(inputs)
    if wanted == "location":
        factors = [each for each in scope2_sources(inputs, [inputs.location]) if each.kind == "carbon factor"]
        return location_parts(inputs, electricity), meter_sources(inputs) + factors
    columns = (inputs.supplier, inputs.residual, inputs.location)
    return market_parts(inputs, electricity), meter_sources(inputs) + scope2_sources(inputs, columns)


def _about(results: LedgerResults, wanted: LedgerFigure) -> list[str]:
    """Return what the ledger says is missing from this figure."""
    return [each for each in results.missing if each.startswith("Scope 1") == (wanted == "scope1")]


def _rules(inputs: LedgerInputs, wanted: LedgerFigure) -> list[Rule]:
    if wanted == "scope1":
        how = "amount x (1 - heel) x kg emitted of a unit x (1 - abated share x destruction) x GWP"
        return [
            Rule(name="emissions", rule=how, source="IPCC 2019 Refinement, volume 3, chapter 6, Tier 2a"),
            Rule(name="GWP", rule=f"over 100 years, {inputs.gwp_set}", source=GWP_SOURCES[inputs.gwp_set]),
        ]
    if wanted == "location":
        rule = f"energy from the grid x factor of {inputs.site.carbon_region}, each time with the factor of its time"
        return [_energy_rule(inputs), Rule(name="location-based", rule=rule, source=_METHOD)]
    order = "certificates, then contracts, then the supplier's factor, else the residual mix, else that of the grid"
    covered = {
        "yearly": "a retirement covers use within its period, in proportion to what is not covered yet",
        "hourly": "a retirement covers only use in the hour of its production",
    }
    return [
        _energy_rule(inputs),
        Rule(name="market-based", rule=f"each kWh goes by the first that covers it: {order}", source=_METHOD),
        Rule(name="matching", rule=covered[inputs.matching]),
        Rule(name="residual mix", rule=f"that of {inputs.site.residual_region}"),
    ]


def _energy_rule(inputs: LedgerInputs) -> Rule:
    estimated = float(sum(inputs.grid.estimated_import_kwh))
    rule = f"what is known best: measured, and the estimates of long gaps; {estimated:.12g} kWh of it are not measured"
    return Rule(name="energy from the grid", rule=rule)
