"""Shards: every connection is collected by exactly one part, whatever the number of parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsd.errors import SettingsError
from emsd.service import Role, Shard

KEYS = st.lists(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True), unique=True, max_size=50)


@given(keys=KEYS, count=st.integers(1, 12))
def test_every_connection_belongs_to_exactly_one_part(keys: list[str], count: int) -> None:
    parts = [Shard(number, count).part_of(keys) for number in range(1, count + 1)]
    assert sorted(key for part in parts for key in part) == sorted(keys)


@given(keys=KEYS, count=st.integers(1, 12))
def test_one_part_more_only_takes_connections_and_moves_no_other(keys: list[str], count: int) -> None:
    for number in range(1, count + 1):
        assert Shard(number, count + 1).part_of(keys) <= Shard(number, count).part_of(keys)


def test_many_connections_are_shared_evenly() -> None:
    keys = [f"gateway-{number}" for number in range(1000)]
    sizes = [len(Shard(number, 4).part_of(keys)) for number in range(1, 5)]
    assert all(200 <= size <= 300 for size in sizes), sizes


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2", "1/2000", "1 / 2"])
def test_what_is_no_shard_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingsError, match="such as 1/4"):
        Shard.parse(text)


def test_a_shard_is_written_as_it_is_read() -> None:
    assert str(Shard.parse("2/4")) == "2/4"


def test_run_does_everything_and_the_other_roles_share_it() -> None:
    assert Role.RUN.collects
    assert Role.RUN.accounts
    assert (Role.COLLECT.collects, Role.COLLECT.accounts) == (True, False)
    assert (Role.SERVE.collects, Role.SERVE.accounts) == (False, True)
