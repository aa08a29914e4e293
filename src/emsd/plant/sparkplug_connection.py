"""A connection to the Sparkplug B edge nodes of an MQTT broker, as a plant's document describes it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from emsd.plant.mqtt_connection import BrokerConnection

__all__ = ["SparkplugConnection"]


class SparkplugConnection(BrokerConnection):
    """One MQTT broker whose edge nodes speak Sparkplug B."""

    kind: Literal["sparkplug_b"] = Field(default="sparkplug_b", description="sparkplug_b.")
    host_id: str | None = Field(
        default=None,
        description="Announces emsd as this Sparkplug host, for edge nodes that store what their host would miss.",
    )
    rebirth_interval_s: float = Field(
        default=10.0, gt=0, le=3600, description="Least time between two requests for a birth to one edge node [s]."
    )

    @field_validator("host_id")
    @classmethod
    def _one_level(cls, host_id: str | None) -> str | None:
        if host_id is not None and (not host_id or {"/", "+", "#", "\0"} & set(host_id)):
            raise ValueError("it is one level of a topic, without / + #")
        return host_id
