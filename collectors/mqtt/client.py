"""The client of aiomqtt, made to know at once when a broker hangs up instead of answering."""

from __future__ import annotations

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

__all__ = ["Client", "HungUp"]


class HungUp(aiomqtt.MqttError):
    """The connection ended before the broker answered."""


class Client(aiomqtt.Client):
    """aiomqtt passes over the end of a connection that is not open yet, and waits for its timeout.

    A broker that refuses a certificate ends it so: with TLS 1.3 the handshake is over for us before the broker has
    looked at ours. Whether reading or writing finds out first is chance.
    """

    def hung_up(self, reason: str) -> None:
        """The connection is lost: who waits for the broker's answer is told so."""
        if not self._connected.done():
            self._connected.set_exception(HungUp(reason))

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.hung_up(str(reason_code))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)
