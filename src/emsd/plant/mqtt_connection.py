"""Connections to MQTT brokers, as a plant's document describes them."""

from __future__ import annotations

from typing import Any, Final, Literal, Self

from pydantic import Field, SecretStr, model_validator

from emsd.plant.entry import Entry, Key, Port

__all__ = ["BrokerConnection", "MqttConnection", "MqttTls"]

_TLS_PORT: Final = 8883
"""Registered with IANA as secure-mqtt."""


class MqttTls(Entry):
    """How the connection is encrypted, and who proves to whom who they are.

    Files are named absolutely, or relative to the folder that emsd runs in, and read at every connect: renewed
    certificates need no restart.
    """

    ca_file: str | None = Field(
        default=None, description="PEM file of the authority that signed the broker; absent: those of the machine."
    )
    cert_file: str | None = Field(default=None, description="PEM file of our certificate, for brokers that ask.")
    key_file: str | None = Field(default=None, description="PEM file of our private key; absent: in cert_file.")
    key_password: SecretStr | None = Field(default=None, description="Opens the key; write ${NAME} and set NAME.")
    verify: bool = Field(
        default=True, description="false: believe whoever answers; only until the broker has a certificate."
    )

    @model_validator(mode="after")
    def _key_has_certificate(self) -> Self:
        if self.cert_file is None and (self.key_file is not None or self.key_password is not None):
            raise ValueError("key_file or key_password is given without cert_file")
        return self


class BrokerConnection(Entry):
    """What every connection to an MQTT broker has, whatever its messages hold."""

    key: Key
    host: str = Field(description="Name or address of the broker.")
    port: Port = Field(default=1883, description="TCP port; absent: 1883, or 8883 where there is tls.")
    client_id: str | None = Field(default=None, description="Names the persistent session; absent: emsd-<site>-<key>.")
    username: str | None = Field(default=None, description="Absent: an anonymous client.")
    password: SecretStr | None = Field(default=None, description="Write ${NAME} and set NAME in the environment.")
    keepalive_s: int = Field(default=30, ge=5, le=3600, description="Longest silence before the broker is pinged [s].")
    max_in_flight: int = Field(default=1000, ge=1, le=65535, description="Messages awaiting their commit at one time.")
    tls: MqttTls | None = Field(
        default=None, description="Encryption; {} trusts the system's authorities; absent: none."
    )

    @model_validator(mode="before")
    @classmethod
    def _port_of_tls(cls, written: Any) -> Any:
        if isinstance(written, dict) and written.get("tls") is not None and "port" not in written:
            return {**written, "port": _TLS_PORT}
        return written


class MqttConnection(BrokerConnection):
    """One MQTT broker whose messages are mapped by profiles."""

    kind: Literal["mqtt"] = Field(default="mqtt", description="mqtt.")
    share_group: str | None = Field(
        default=None,
        pattern=r"^[^/+#\x00]+$",
        description="Group of emsd processes that share the messages between them (MQTT 5); each needs its client_id.",
    )
    online_topic: str | None = Field(
        default=None, description="Where emsd keeps whether it is there: online, or offline as its last will; retained."
    )

    @model_validator(mode="after")
    def _shared_by_name(self) -> Self:
        if self.share_group is not None and self.client_id is None:
            raise ValueError("share_group needs a client_id, another one in each process, such as emsd-${HOSTNAME}")
        return self
