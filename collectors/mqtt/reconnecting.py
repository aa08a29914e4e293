"""What every collector of a broker does: be known to it under one name, and open the session again when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NoReturn, Protocol

import structlog

from collectors.backoff import Backoff
from collectors.mqtt.connecting import OldBroker
from emsd.collector import MeterHealth, honour_cancellation
from emsd.errors import NotDurable, Unreachable
from emsd.plant.mqtt_connection import BrokerConnection

__all__ = ["client_id_of", "keep_session", "reconnect_backoff"]

log = structlog.get_logger(__name__)

RECONNECT_BASE_S: Final = 0.5
RECONNECT_CAP_S: Final = 30.0

_IDS_A_SITE: Final = 1_000_000
"""Meter ids of a site begin at its number times this."""


class Serve(Protocol):
    """Holds one session with the broker until it is lost."""

    async def __call__(self, *, old_protocol: bool) -> None:
        """Raise Unreachable or NotDurable at the end; OldBroker when MQTT 3.1.1 is to be tried."""


def client_id_of(connection: BrokerConnection, healths: Sequence[MeterHealth]) -> str:
    """Return the name of the session: the connection's own, else one by site and connection."""
    site = healths[0].meter_id // _IDS_A_SITE if healths else 0
    return connection.client_id or f"emsd-{site}-{connection.key}"


def reconnect_backoff() -> Backoff:
    """Return how long to wait before a broker is tried again."""
    return Backoff(RECONNECT_BASE_S, RECONNECT_CAP_S)


async def keep_session(name: str, serve: Serve, backoff: Backoff, note_unreachable: Callable[[str], None]) -> NoReturn:
    """Serve until cancelled; the session is opened again for as long as it takes.

    Args:
        name: of the connection, for the log.
        serve: one session.
        backoff: the waits between them; whoever serves resets it.
        note_unreachable: is told each time why there is no session.
    """
    old_protocol = False
    while True:
        honour_cancellation()
        try:
            await serve(old_protocol=old_protocol)
        except OldBroker as error:
            log.info("broker_speaks_mqtt_3", connection=name, reason=str(error))
            old_protocol = True
        except Unreachable as error:
            if backoff.failures == 0:
                log.warning("broker_unreachable", connection=name, error=str(error))
            note_unreachable(str(error))
            await asyncio.sleep(backoff.next_s())
        except NotDurable as error:
            # Unacknowledged messages come again only on a new connection.
            log.warning("readings_not_durable", connection=name, error=str(error))
            await asyncio.sleep(backoff.next_s())
