"""How an MQTT device speaks: its payload mapping, as data; values are given in canonical units."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from emsd.plant.entry import Entry
from emsd.quantities import BY_NAME

__all__ = ["MqttMap", "MqttTime", "MqttValue"]


class MqttTime(Entry):
    """Where a message carries its own time; without it the arrival counts."""

    path: str = Field(description="Path of the time in the payload.")
    format: Literal["iso8601", "epoch_s", "epoch_ms", "epoch_us"] = Field(description="How the time is written.")


class MqttValue(Entry):
    """One quantity in a JSON payload.

    `path` is dotted keys with optional `[index]`; `[*]` takes every element of a list, and they are added.
    """

    quantity: str = Field(description="Canonical quantity that it delivers.")
    path: str = Field(description="Path of the value in the payload: dotted keys, [index] or [*].")
    scale: float = Field(default=1.0, description="Payload to canonical unit: factor.")
    add: float = Field(default=0.0, description="Payload to canonical unit: what is added after scaling.")
    required: bool = Field(default=False, description="A message without it is refused; else it is simply absent.")
    rollover_at: float | None = Field(default=None, gt=0, description="Counter modulus in the quantity's unit.")
    count: float | None = Field(default=None, gt=0, description="Resolution of a counter, in the quantity's unit.")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.quantity not in BY_NAME:
            raise ValueError(f"quantity {self.quantity!r} is not in the vocabulary")
        return self


class MqttMap(Entry):
    """How to understand a device's MQTT messages."""

    topic: str = Field(default="{topic}", description="Topic pattern; {topic} stands for the meter's own topic.")
    qos: Literal[0, 1] = Field(default=1, description="Quality of service of the subscription.")
    reporting: Literal["periodic", "by_exception"] = Field(
        default="periodic", description="Whether every message is complete, or carries only what changed."
    )
    time: MqttTime | None = Field(
        default=None, description="Where a message carries its own time; absent: its arrival counts."
    )
    values: tuple[MqttValue, ...] = Field(min_length=1, description="Quantities and their places in the payload.")
