"""A connection to an MQTT broker, as a plant's document describes it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from emsd.plant.entry import Entry, Key, Port

__all__ = ["MqttConnection"]


class MqttConnection(Entry):
    """One MQTT broker."""

    key: Key
    kind: Literal["mqtt"] = Field(default="mqtt", description="mqtt.")
    host: str = Field(description="Name or address of the broker.")
    port: Port = Field(default=1883, description="TCP port.")
    client_id: str | None = Field(default=None, description="Names the persistent session; absent: emsd-<site>-<key>.")
    username: str | None = Field(default=None, description="Absent: an anonymous client.")
    password: SecretStr | None = Field(default=None, description="Write ${NAME} and set NAME in the environment.")
    keepalive_s: int = Field(default=30, ge=5, le=3600, description="Longest silence before the broker is pinged [s].")
    max_in_flight: int = Field(default=1000, ge=1, le=65535, description="Messages awaiting their commit at one time.")
