"""How simulated devices reach their broker: the same client for all of them, and growing pauses while it is away."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Coroutine
from typing import Any, Final

import aiomqtt

from emsd.errors import ConfigurationError
from emsd.plant.mqtt_connection import BrokerConnection

__all__ = ["FAREWELL_S", "Pauses", "client_of", "encryption_of", "until_it_ends"]

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0
_ANSWER_S: Final = 5.0
FAREWELL_S: Final = 1.0
"""How long a device that is switched off waits for the broker to take its good-bye."""


def client_of(connection: BrokerConnection, client_id: str, will: aiomqtt.Will | None = None) -> aiomqtt.Client:
    """Return a client for the broker of a connection, not connected yet.

    Raises:
        ConfigurationError: it is to be encrypted with files that cannot be used.
    """
    password = connection.password
    return aiomqtt.Client(
        connection.host,
        connection.port,
        identifier=client_id,
        username=connection.username,
        password=None if password is None else password.get_secret_value(),
        keepalive=connection.keepalive_s,
        timeout=_ANSWER_S,
        will=will,
        tls_context=encryption_of(connection),
    )


def encryption_of(connection: BrokerConnection) -> ssl.SSLContext | None:
    """Return how devices have the broker prove itself, and prove themselves where they have a certificate.

    Raises:
        ConfigurationError: a file is missing or is no certificate or key.
    """
    tls = connection.tls
    if tls is None:
        return None
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file is not None:
            password = tls.key_password.get_secret_value() if tls.key_password else ""
            context.load_cert_chain(tls.cert_file, tls.key_file, password=password)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"simulated devices of connection {connection.key} cannot use its certificates ({error}); "
            "name PEM files that can be read"
        ) from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def until_it_ends(session: Coroutine[Any, Any, None]) -> None:
    """Run a session with a broker, in a task of its own, so that a cancellation of ours always comes through.

    In Python 3.11 a task group swallows one that comes while a broker is lost: its error has priority.

    Raises:
        whatever the session raises.
    """
    task = asyncio.create_task(session)
    try:
        await asyncio.wait({task})
    finally:
        task.cancel()
        await asyncio.wait({task})
        error = None if task.cancelled() else task.exception()
    if error is not None:
        raise error


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
