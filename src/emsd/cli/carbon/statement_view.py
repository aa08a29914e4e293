"""How a statement, its proof and its changes are shown to people."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import typer

from emsd.cli.carbon.common import print_table

if TYPE_CHECKING:
    from emsd.energy.ledger import Change, Figures, LedgerInputs, LedgerResults, Statement
    from emsd.statements import Proof
    from emsd.store.statements import StatementRow

__all__ = ["print_changes", "print_proof", "print_statement"]

_LINES: Final = (
    ("Grid import", "grid_import_kwh", "kWh", "estimated_import_kwh"),
    ("Grid export", "grid_export_kwh", "kWh", "estimated_export_kwh"),
    ("Yield of own PV", "generation_kwh", "kWh", "estimated_generation_kwh"),
    ("Own PV used on site", "pv_used_kwh", "kWh", None),
    ("Load", "load_kwh", "kWh", None),
    ("Scope 1", "scope1_kg", "t", None),
    ("Scope 2, location-based", "location_kg", "t", "estimated_location_kg"),
    ("Scope 2, market-based", "market_kg", "t", "estimated_market_kg"),
    ("Avoided (beside, not inside)", "avoided_kg", "t", None),
    ("Covered by certificates", "certificate_kwh", "kWh", None),
    ("Covered by contracts", "contract_kwh", "kWh", None),
    ("By the supplier's factor", "supplier_kwh", "kWh", None),
    ("By the residual mix", "residual_kwh", "kWh", None),
    ("By the location-based factor, for want of another", "location_kwh", "kWh", None),
    ("Own PV whose certificates were sold", "sold_pv_kwh", "kWh", None),
    ("Time that was measured", "coverage", "%", None),
    ("Time whose energy is known", "completeness", "%", None),
    ("Energy that was estimated", "estimated_share", "%", None),
    ("Energy with a location-based factor", "location_coverage", "%", None),
    ("Energy with a market-based factor", "market_coverage", "%", None),
    ("Self-consumption of own PV", "self_consumption", "%", None),
    ("Self-sufficiency", "self_sufficiency", "%", None),
    ("Renewable coverage", "renewable_coverage", "%", None),
)
"""What is shown, its unit, and which figure tells the part of it that was estimated."""
_OF_MONTHS: Final = (
    "grid_import_kwh", "scope1_kg", "location_kg", "market_kg", "coverage", "estimated_share", "renewable_coverage",
)  # fmt: skip


def print_statement(row: StatementRow, content: Statement) -> None:
    """Print the figures of a statement and what they rest on."""
    site = content.inputs.site
    typer.echo(f"{site.name}, {row.period_from.isoformat()} to {row.period_to.isoformat()} ({site.time_zone})")
    typer.echo(f"made by {content.author} with {content.software}; {content.methods.gwp}")
    if content.restates is not None:
        typer.echo(f"restates statement {content.restates.statement_id}: {content.restates.reason}")
    total = content.results.total
    print_table(
        ("figure", "value", "of it estimated", "unit"),
        [
            (label, _cell(total, name, unit), "" if estimated is None else _cell(total, estimated, unit), unit)
            for label, name, unit, estimated in _LINES
        ],
    )
    chosen = [line for line in _LINES if line[1] in _OF_MONTHS]
    print_table(
        ("month", *(f"{label} [{unit}]" for label, _, unit, _ in chosen)),
        [(month.name, *(_cell(month, name, unit) for _, name, unit, _ in chosen)) for month in content.results.months],
        title="Months",
    )
    _print_factors(content.inputs)
    _print_parts(content.results)
    for sentence in content.results.missing:
        typer.echo(f"missing: {sentence}")


def print_proof(row: StatementRow, proof: Proof, changes: Sequence[Change] | None, fingerprint: str | None) -> bool:
    """Print whether a statement holds, and what has changed since where that was looked up; return whether it holds."""
    problems = list(proof.problems)
    if fingerprint is not None and fingerprint != proof.fingerprint:
        problems.append(f"it was signed with the key {proof.fingerprint}")
    for problem in problems:
        typer.echo(f"statement {row.statement_id} does not hold: {problem}", err=True)
    if not problems:
        typer.echo(f"statement {row.statement_id} holds: digest, signature, chain, recomputation; {proof.fingerprint}")
        if changes is not None:
            print_changes(changes, "nothing that it rests on has changed since")
    return not problems


def print_changes(changes: Sequence[Change], nothing: str) -> None:
    """Print what is different, or say that nothing is."""
    if not changes:
        typer.echo(nothing)
        return
    print_table(("what", "before", "after"), [(each.what, each.before or "", each.after or "") for each in changes])


def _print_factors(inputs: LedgerInputs) -> None:
    zone = ZoneInfo(inputs.site.time_zone)
    print_table(
        ("method", "region", "kg/kWh", "version", "valid from", "source"),
        [
            (
                use.method, use.region, "by the hour" if use.kg_per_kwh is None else f"{use.kg_per_kwh:f}",
                str(use.version), f"{use.valid_from.astimezone(zone):%Y-%m-%d}", use.source,
            )
            for column in (inputs.location, inputs.supplier, inputs.residual)
            for use in column.uses
        ],
        title="Factors",
    )  # fmt: skip


def _print_parts(results: LedgerResults) -> None:
    if results.instruments:
        print_table(
            ("serial", "registry", "available kWh", "covers kWh", "surplus kWh"),
            [
                (each.serial, each.registry, _number(each.available_kwh), _number(each.matched_kwh),
                 _number(each.surplus_kwh))
                for each in results.instruments
            ],
            title="Certificates and contracts",
        )  # fmt: skip
    if results.scope1:
        print_table(
            ("substance", "process", "gas", "emitted kg", "t CO2e"),
            [
                (each.substance, each.process or "", each.gas, _number(each.emitted_kg), _number(each.kg_co2e / 1000))
                for each in results.scope1
            ],
            title="Scope 1",
        )


def _cell(figures: Figures, field: str, unit: str) -> str:
    value: Decimal | None = getattr(figures, field)
    if value is None:
        return "unknown"
    if unit == "%":
        return f"{100 * value:.1f}"
    return _number(value / 1000) if unit == "t" else f"{value:,.0f}"


def _number(value: Decimal) -> str:
    return f"{value:,.3f}"
