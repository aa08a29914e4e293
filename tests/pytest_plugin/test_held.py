"""What the fixtures hold open for a test is closed after it, whatever went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from emsd.pytest_plugin.thread import Held, Loop


@pytest.fixture
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    loop = Loop(longest_s=getattr(request, "param", 60.0))
    yield loop
    loop.close()


def test_every_block_is_left_though_one_ends_with_an_error(loop: Loop) -> None:
    left: list[str] = []

    @asynccontextmanager
    async def block(name: str, *, slow: bool) -> AsyncIterator[str]:
        try:
            yield name
        finally:
            if slow:
                await asyncio.sleep(0.05)
            left.append(name)
            if not slow:
                raise OSError("cannot be closed")

    held = Held(loop)
    assert [held.enter(block("one", slow=False)), held.enter(block("two", slow=True))] == ["one", "two"]
    with pytest.raises(BaseExceptionGroup, match="ended with errors") as raised:
        held.leave()
    assert left == ["one", "two"]
    assert raised.group_contains(OSError, match="cannot be closed")


@pytest.mark.parametrize("loop", [1.0], indirect=True)
def test_a_block_that_does_not_open_in_time_is_given_up(loop: Loop) -> None:
    given_up = False

    @asynccontextmanager
    async def endless() -> AsyncIterator[None]:
        nonlocal given_up
        try:
            await asyncio.Event().wait()
            yield
        finally:
            given_up = True

    held = Held(loop)
    with pytest.raises(TimeoutError, match="within 1 s"):
        held.enter(endless())
    held.leave()
    assert given_up
