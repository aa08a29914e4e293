"""Tokens: only a digest is kept, and the command line makes, lists and revokes them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from emsd.cli.token import app
from emsd.errors import StoreError
from emsd.store.tokens import create_token, list_tokens, revoke_token, verify_token

if TYPE_CHECKING:
    from tests.api.conftest import Factory


async def test_a_token_is_256_random_bits_and_only_its_digest_is_kept(factory: Factory) -> None:
    token = await create_token(factory.pool, "shift")
    other = await create_token(factory.pool, "scada")
    assert token.startswith("emsd_")
    assert len(token) == len("emsd_") + 43  # 32 bytes in base64 without padding
    assert token != other
    async with factory.pool.acquire() as connection:
        rows = await connection.fetch("SELECT * FROM api_token")
    assert token not in repr(rows)
    assert {bytes(row["sha256"]) for row in rows} == {hashlib.sha256(each.encode()).digest() for each in (token, other)}


async def test_a_token_is_valid_until_it_is_revoked(factory: Factory) -> None:
    token = await create_token(factory.pool, "shift")
    row = await verify_token(factory.pool, token)
    assert row is not None
    assert row.name == "shift"
    assert await verify_token(factory.pool, token + "x") is None
    assert await verify_token(factory.pool, "") is None
    assert await revoke_token(factory.pool, "shift")
    assert await verify_token(factory.pool, token) is None
    assert not await revoke_token(factory.pool, "shift")
    (row,) = await list_tokens(factory.pool)
    assert row.revoked_at is not None


async def test_a_name_is_given_once(factory: Factory) -> None:
    await create_token(factory.pool, "shift")
    with pytest.raises(StoreError, match="choose another name"):
        await create_token(factory.pool, "shift")


def test_the_command_line_creates_lists_and_revokes(database_url: str) -> None:
    runner, environment = CliRunner(), {"EMSD_DATABASE_URL": database_url}

    created = runner.invoke(app, ["create", "shift"], env=environment)
    assert created.exit_code == 0
    assert created.stdout.startswith("emsd_")  # the token alone, so that a script can keep it
    listed = runner.invoke(app, ["list"], env=environment)
    assert "shift" in listed.stdout
    assert created.stdout.strip() not in listed.stdout
    assert runner.invoke(app, ["revoke", "shift"], env=environment).exit_code == 0

    again = runner.invoke(app, ["revoke", "shift"], env=environment)
    assert again.exit_code == 1
    assert "no valid token named 'shift'" in again.stderr
    twice = runner.invoke(app, ["create", "shift"], env=environment)
    assert twice.exit_code == 1
    assert "choose another name" in twice.stderr
