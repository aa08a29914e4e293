"""`emsd token`: make, list and revoke the tokens of those who may write through the API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from emsd.cli.options import DatabaseUrl
from emsd.cli.outcome import one_sentence

if TYPE_CHECKING:
    from emsd.store.pool import Pool

__all__ = ["app"]

app = typer.Typer(help="Tokens of those who may write through the API.", no_args_is_help=True)

Name: TypeAlias = Annotated[str, typer.Argument(help="Whose token it is, such as shift-leader or scada.")]
Result = TypeVar("Result")


@app.command("create")
def create(name: Name, database_url: DatabaseUrl) -> None:
    """Make a token and show it; it cannot be shown again, since only its digest is kept."""
    from emsd.store.tokens import create_token

    token = _with_pool(database_url, lambda pool: create_token(pool, name))
    typer.echo("Keep this token now; it cannot be shown again:", err=True)
    typer.echo(token)


@app.command("list")
def list_all(database_url: DatabaseUrl) -> None:
    """Show every token's name and whether it is still valid; never the tokens."""
    from rich.console import Console
    from rich.table import Table

    from emsd.store.tokens import list_tokens

    table = Table("name", "created", "revoked")
    for row in _with_pool(database_url, list_tokens):
        revoked = "" if row.revoked_at is None else f"{row.revoked_at:%Y-%m-%d %H:%M} UTC"
        table.add_row(row.name, f"{row.created_at:%Y-%m-%d %H:%M} UTC", revoked)
    Console().print(table)


@app.command("revoke")
def revoke(name: Name, database_url: DatabaseUrl) -> None:
    """Make a token worthless from now on."""
    from emsd.store.tokens import revoke_token

    if not _with_pool(database_url, lambda pool: revoke_token(pool, name)):
        typer.echo(f"there is no valid token named {name!r}; `emsd token list` shows all", err=True)
        raise typer.Exit(1)
    typer.echo(f"revoked {name}")


def _with_pool(database_url: str, action: Callable[[Pool], Awaitable[Result]]) -> Result:
    """Run one action on the database; what goes wrong is one sentence and an exit code."""
    from emsd.logs import configure_logging
    from emsd.store.pool import open_pool

    configure_logging(level="warning")  # standard output is the token's

    async def run() -> Result:
        async with open_pool(database_url, application_name="emsd-token", max_size=1) as pool:
            return await action(pool)

    with one_sentence():
        return asyncio.run(run())
