"""`emsd carbon statement`: freeze, sign, show, check and compare the ledger of a period."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emsd.cli.carbon.common import AsJson, Author, Site, day_of, on_site, period_of, print_json, print_table
from emsd.cli.carbon.key import KeyFile, key_file
from emsd.cli.carbon.statement_view import print_changes, print_proof, print_statement
from emsd.cli.options import DatabaseUrl
from emsd.cli.outcome import one_sentence
from emsd.errors import SettingsError

if TYPE_CHECKING:
    from emsd.energy.ledger import Change, Statement
    from emsd.statements import Proof
    from emsd.store.pool import Pool
    from emsd.store.statements import StatementRow

__all__ = ["app"]

app = typer.Typer(help="Statements: the ledger of a period, frozen and signed.", no_args_is_help=True)


@app.command("create")
def create(
    database_url: DatabaseUrl,
    author: Author,
    period: Annotated[str | None, typer.Option("--period", help="A year or a month: 2026, 2026-03.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Or the first local day.")] = None,
    to: Annotated[str | None, typer.Option(help="And the first local day after it.")] = None,
    restates: Annotated[int | None, typer.Option(help="Statement that this one replaces.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why it is replaced.")] = None,
    file: KeyFile = None,
    site: Site = None,
) -> None:
    """Freeze and sign the ledger of a period that is over. It can be restated, never changed."""
    from emsd.signing import load_key
    from emsd.statements import Wanted, create_statement
    from emsd.store.statements import statement_numbered

    with one_sentence():
        first_day, end_day = _days(period, from_, to)
        key = load_key(key_file(file))

    async def make(pool: Pool, site_id: int) -> StatementRow:
        wanted = Wanted(site_id, first_day, end_day, author, restates, reason)
        number = await create_statement(pool, key, wanted, now=datetime.now(UTC))
        return await statement_numbered(pool, site_id, number)

    row = on_site(database_url, site, make)
    typer.echo(f"statement {row.statement_id}, SHA-256 {row.sha256}")
    print_statement(row, row.content())


@app.command("list")
def list_all(database_url: DatabaseUrl, site: Site = None, as_json: AsJson = False) -> None:
    """Show every statement, the oldest first."""
    from emsd.store.statements import list_statements

    rows = on_site(database_url, site, list_statements)
    if as_json:
        print_json([_summary(row) for row in rows])
        return
    print_table(
        ("No.", "period [UTC]", "made [UTC]", "author", "restates", "restated by", "SHA-256"),
        [
            (
                str(row.statement_id), f"{row.period_from:%Y-%m-%d %H:%M} to {row.period_to:%Y-%m-%d %H:%M}",
                f"{row.created_at:%Y-%m-%d %H:%M}", row.author, "" if row.restates is None else f"{row.restates}",
                "" if row.restated_by is None else f"{row.restated_by}", row.sha256[:16],
            )
            for row in rows
        ],
    )  # fmt: skip


@app.command("show")
def show(
    number: Annotated[int, typer.Argument(metavar="ID", help="Number, as `list` shows.")],
    database_url: DatabaseUrl,
    site: Site = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the document as it was signed.")] = False,
) -> None:
    """Show a statement: figures of the period and of each month, factors, instruments, activities, what is missing."""
    from emsd.store.statements import statement_numbered

    row = on_site(database_url, site, lambda pool, site_id: statement_numbered(pool, site_id, number))
    if as_json:
        typer.echo(row.document.decode(), nl=False)
        return
    with one_sentence():
        print_statement(row, _content(row))


@app.command("export")
def export(
    number: Annotated[int, typer.Argument(metavar="ID", help="Number, as `list` shows.")],
    database_url: DatabaseUrl,
    folder: Annotated[Path, typer.Option("--to", help="Folder to write to.")] = Path(),
    site: Site = None,
) -> None:
    """Write the signed document, its signature and the public key to files, for whoever checks it without emsd."""
    from emsd.signing import public_key_pem
    from emsd.store.statements import statement_numbered

    row = on_site(database_url, site, lambda pool, site_id: statement_numbered(pool, site_id, number))
    files = {"json": row.document, "sig": row.signature, "pem": public_key_pem(row.public_key)}
    with one_sentence():
        for ending, content in files.items():
            path = folder / f"statement-{number}.{ending}"
            try:
                path.write_bytes(content)
            except OSError as error:
                raise SettingsError(f"{path} cannot be written ({error.strerror}); name another --to") from None
    name = folder / f"statement-{number}"
    typer.echo(f"openssl pkeyutl -verify -pubin -inkey {name}.pem -rawin -in {name}.json -sigfile {name}.sig")


@app.command("verify")
def verify(
    database_url: DatabaseUrl,
    number: Annotated[int | None, typer.Argument(metavar="[ID]", help="Number; absent: all of the site.")] = None,
    fingerprint: Annotated[
        str | None, typer.Option(help="Fingerprint of the key that must have signed; absent: any, and it is shown.")
    ] = None,
    live: Annotated[bool, typer.Option("--live/--no-live", help="Also hold it against the database of today.")] = True,
    site: Site = None,
) -> None:
    """Check digest, signature and chain, compute the figures again bit by bit, and list what has changed since.

    Exit code 1 when a statement does not hold. What has changed since is no fault of it: restate it if that matters.
    """
    from emsd.statements import changes_since, check_statement
    from emsd.store.statements import list_statements

    async def check(pool: Pool, site_id: int) -> list[tuple[StatementRow, Proof, list[Change] | None]]:
        rows = await list_statements(pool, site_id)
        found: list[tuple[StatementRow, Proof, list[Change] | None]] = []
        for row in rows:
            if number in {None, row.statement_id}:
                proof = await check_statement(row, rows)
                changes = await changes_since(pool, row, now=datetime.now(UTC)) if live and proof.holds else None
                found.append((row, proof, changes))
        return found

    checked = on_site(database_url, site, check)
    if not checked:
        typer.echo("there is no such statement; `emsd carbon statement list` shows all", err=True)
        raise typer.Exit(1)
    verdicts = [print_proof(row, proof, changes, fingerprint) for row, proof, changes in checked]
    if not all(verdicts):
        raise typer.Exit(1)


@app.command("diff")
def diff(
    before: Annotated[int, typer.Argument(help="A statement.")],
    after: Annotated[int, typer.Argument(help="Another one, such as its restatement.")],
    database_url: DatabaseUrl,
    site: Site = None,
    as_json: AsJson = False,
) -> None:
    """List what is different between two statements: inputs and figures."""
    from emsd.statements import changes_between
    from emsd.store.statements import statement_numbered

    async def both(pool: Pool, site_id: int) -> tuple[StatementRow, StatementRow]:
        return await statement_numbered(pool, site_id, before), await statement_numbered(pool, site_id, after)

    one, other = on_site(database_url, site, both)
    changes = changes_between(one, other)
    if as_json:
        print_json([change._asdict() for change in changes])
        return
    if other.restates == one.statement_id:
        typer.echo(f"statement {after} restates {before}: {other.reason}")
    print_changes(changes, "they say the same")


def _days(period: str | None, from_: str | None, to: str | None) -> tuple[date, date]:
    if period is not None and from_ is None and to is None:
        return period_of(period)
    if period is None and from_ is not None and to is not None:
        return day_of(from_, "--from"), day_of(to, "--to")
    raise SettingsError("name the period with --period, or with --from and --to")


def _content(row: StatementRow) -> Statement:
    try:
        return row.content()
    except ValueError as error:
        raise SettingsError(f"statement {row.statement_id}: {error}") from None


def _summary(row: StatementRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in row.__slots__ if name not in {"document", "signature"}}
