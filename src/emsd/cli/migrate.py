"""`emsd migrate`: bring the database's schema up to date."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from emsd.cli.options import DatabaseUrl
from emsd.cli.outcome import one_sentence
from emsd.errors import SettingsError

__all__ = ["migrate"]


def migrate(
    database_url: DatabaseUrl,
    reader_password_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Environment variable with the password that the role emsd_reader (Grafana's) is to have.",
        ),
    ] = None,
    plant: Annotated[
        Path | None, typer.Option(help="Also write this plant's sites, areas, assets and meters to the database.")
    ] = None,
) -> None:
    """Apply the migrations that the database lacks; safe to repeat, and for two processes at once."""
    with one_sentence():
        password = None
        if reader_password_env is not None:
            password = os.environ.get(reader_password_env)
            if not password:
                raise SettingsError(f"{reader_password_env} is not set; put the reader's password into it")
        asyncio.run(_migrate(database_url, password, plant))


async def _migrate(database_url: str, reader_password: str | None, plant: Path | None) -> None:
    from emsd.logs import configure_logging
    from emsd.plant.loader import load_plant
    from emsd.store.migrations import migrate as apply
    from emsd.store.migrations import set_reader_password
    from emsd.store.plant import sync_plant
    from emsd.store.pool import open_pool, session

    configure_logging(level="warning")  # what it does stands on standard output
    loaded = load_plant(plant, environ=os.environ) if plant is not None else None
    for name in await apply(database_url):
        typer.echo(f"applied {name}")
    async with open_pool(database_url, application_name="emsd-migrate", max_size=1) as pool:
        if reader_password is not None:
            async with session(pool, "set the password of emsd_reader") as connection:
                await set_reader_password(connection, reader_password)
            typer.echo("emsd_reader has its password")
        if loaded is not None:
            meter_ids = await sync_plant(pool, loaded.plant, loaded.profiles)
            typer.echo(f"the database knows {len(meter_ids)} meters of {loaded.plant.site.name}")
    typer.echo("the schema is up to date")
