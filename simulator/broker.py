"""How simulated devices reach their broker: the same client for all of them, and growing pauses while it is away."""

from __future__ import annotations

import asyncio
import random
from typing import Final

import aiomqtt

from emsd.plant.mqtt_connection import BrokerConnection

__all__ = ["ANSWER_S", "Pauses", "client_of"]

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0
ANSWER_S: Final = 5.0
"""Longest wait for the broker [s]."""


def client_of(connection: BrokerConnection, client_id: str, will: aiomqtt.Will | None = None) -> aiomqtt.Client:
    """Return a client for the broker of a connection, not connected yet."""
    password = connection.password
    return aiomqtt.Client(
        connection.host,
        connection.port,
        identifier=client_id,
        username=connection.username,
        password=None if password is None else password.get_secret_value(),
        keepalive=connection.keepalive_s,
        timeout=ANSWER_S,
        will=will,
    )


class Pauses:
    """Waits between two tries to reach a broker: doubled each time, capped and jittered."""

    def __init__(self) -> None:
        self._next_s = _FIRST_PAUSE_S

    def reset(self) -> None:
        """The broker was reached: begin anew with the shortest."""
        self._next_s = _FIRST_PAUSE_S

    async def wait(self) -> None:
        """Wait before the next try."""
        await asyncio.sleep(self._next_s * random.uniform(0.5, 1.0))  # noqa: S311  (spreads reconnects, no secret)
        self._next_s = min(2 * self._next_s, _LONGEST_PAUSE_S)
