"""`emsd carbon key`: the key that signs statements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from emsd.cli.outcome import one_sentence

__all__ = ["KeyFile", "app", "key_file"]

app = typer.Typer(help="The key that signs statements.", no_args_is_help=True)

KeyFile: TypeAlias = Annotated[
    Path | None, typer.Option("--key-file", help="File of the signing key; absent: EMSD_STATEMENT_KEY_FILE.")
]


def key_file(given: Path | None) -> Path:
    """Return the file of the signing key: the one given, else that of the settings.

    Raises:
        SettingsError: a setting is wrong.
    """
    from emsd.settings import load_settings

    return given if given is not None else load_settings().statement_key_place()


@app.command("create")
def create(file: KeyFile = None) -> None:
    """Make a key in a new file that only you may read, and show its fingerprint.

    Keep a copy where you keep passwords. Give the fingerprint to whoever checks statements, on paper: a statement that
    was signed with another key is not yours.
    """
    from emsd.signing import create_key, fingerprint_of

    with one_sentence():
        path = key_file(file)
        key = create_key(path)
    typer.echo(f"wrote {path}; public key {key.public_key}", err=True)
    typer.echo(fingerprint_of(key.public_key))


@app.command("show")
def show(file: KeyFile = None) -> None:
    """Show the fingerprint of the key; never the key."""
    from emsd.signing import fingerprint_of, load_key

    with one_sentence():
        typer.echo(fingerprint_of(load_key(key_file(file)).public_key))
