"""How an MQTT device speaks: its messages as data, topic by topic; values are given in canonical units.

A device with one kind of message has `topic`, `time` and `values` in its map; one with several lists `messages`.
In topics and paths `{topic}` stands for the meter's own topic, `{device}` for that topic up to its last `/`, and
`{channel}` for what follows the last `/`: the three channels of one device are the meters `pro3em/0` to `pro3em/2`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from emsd.plant.entry import Entry
from emsd.quantities import BY_NAME, RunState

__all__ = ["MqttAvailability", "MqttMap", "MqttMessage", "MqttTime", "MqttValue", "ZoneName", "filled"]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError(f"{name!r} is not an IANA time zone; write it like Europe/Berlin") from None
    return name


ZoneName = Annotated[str, AfterValidator(_known_zone)]
"""An IANA name, such as Asia/Shanghai."""


class MqttTime(Entry):
    """Where a message carries its own time; without it the arrival counts."""

    path: str = Field(description="Path of the time in the payload.")
    format: Literal["iso8601", "iso8601_local", "iso8601_or_epoch_ms", "epoch_s", "epoch_ms", "epoch_us"] = Field(
        description="How the time is written. iso8601_local is the device's local time without a zone: it counts where "
        "the meter or this entry names time_zone, else the arrival does."
    )
    time_zone: ZoneName | None = Field(
        default=None, description="Zone of iso8601_local, where all devices of this model keep the same."
    )

    @model_validator(mode="after")
    def _zone_of_local_time(self) -> Self:
        if self.time_zone is not None and self.format != "iso8601_local":
            raise ValueError(f"time_zone belongs to iso8601_local; {self.format} says by itself when it was")
        return self


class MqttValue(Entry):
    """One quantity in a payload.

    `path` is dotted keys with optional `[index]`; `[*]` takes every element of a list, and they are added. Where a
    device sends a bare value instead of a list of one, `[0]` and `[*]` are that value.
    """

    quantity: str = Field(description="Canonical quantity that it delivers.")
    path: str | None = Field(
        default=None,
        description="Path of the value in the JSON: dotted keys, [index] or [*]; absent: the payload is the value.",
    )
    scale: float = Field(default=1.0, description="Payload to canonical unit: factor.")
    add: float = Field(default=0.0, description="Payload to canonical unit: what is added after scaling.")
    states: dict[str, RunState] | None = Field(
        default=None, description='For run_state: what the device says, such as ON, "true" or "3", to run state.'
    )
    required: bool = Field(default=False, description="A message without it is refused; else it is simply absent.")
    rollover_at: float | None = Field(default=None, gt=0, description="Counter modulus in the quantity's unit.")
    count: float | None = Field(default=None, gt=0, description="Resolution of a counter, in the quantity's unit.")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.quantity not in BY_NAME:
            raise ValueError(f"quantity {self.quantity!r} is not in the vocabulary")
        if self.states is not None and self.quantity != "run_state":
            raise ValueError("states belong to run_state")
        if self.states is not None and (self.scale, self.add) != (1.0, 0.0):
            raise ValueError("states need neither scale nor add")
        return self


class MqttMessage(Entry):
    """One kind of message: the topic that it comes on, and what it carries."""

    topic: str = Field(description="Topic pattern; {topic}, or {device} and {channel}, stand for the meter's own.")
    time: MqttTime | None = Field(
        default=None, description="Where a message carries its own time; absent: its arrival counts."
    )
    mixed: bool = Field(
        default=False,
        description="Other messages come on this topic too: one with none of the values is counted and passed over.",
    )
    values: tuple[MqttValue, ...] = Field(min_length=1, description="Quantities and their places in the payload.")

    @model_validator(mode="after")
    def _json_or_one_value(self) -> Self:
        if any(value.path is None for value in self.values) and (len(self.values) > 1 or self.time is not None):
            raise ValueError("a payload that is the value itself has neither further values nor a time; give paths")
        return self


class MqttAvailability(Entry):
    """Where a device, or its last will, says whether it is there; it makes no reading."""

    topic: str = Field(description="Topic pattern, as of messages.")
    path: str | None = Field(default=None, description="Path of the word when the payload is a JSON object.")
    online: tuple[str, ...] = Field(default=("online", "true"), min_length=1, description="Words for: it is there.")
    offline: tuple[str, ...] = Field(default=("offline", "false"), min_length=1, description="Words for: it is not.")


class MqttMap(Entry):
    """How to understand a device's MQTT messages."""

    topic: str = Field(
        default="{topic}",
        description="Topic pattern; {topic} stands for the meter's own topic, {device} and {channel} for its parts.",
    )
    qos: Literal[0, 1] = Field(default=1, description="Quality of service of the subscription.")
    reporting: Literal["periodic", "by_exception"] = Field(
        default="periodic", description="Whether messages come on a beat, or only when something has changed."
    )
    time: MqttTime | None = Field(
        default=None, description="Where a message carries its own time; absent: its arrival counts."
    )
    values: tuple[MqttValue, ...] = Field(default=(), description="Quantities and their places in the payload.")
    messages: tuple[MqttMessage, ...] = Field(
        default=(), description="Instead of topic, time and values: the kinds of messages of a device with several."
    )
    availability: MqttAvailability | None = Field(
        default=None, description="Where the device says whether it is there; while it is not, its meter is down."
    )

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.messages) == bool(self.values):
            raise ValueError("give either values, or messages with values")
        if self.messages and self.model_fields_set & {"topic", "time"}:
            raise ValueError("each of the messages has its own topic and time; take those of the map out")
        if self.values:
            MqttMessage(topic=self.topic, time=self.time, values=self.values)
        said: dict[str, MqttValue] = {}
        for value in (value for kind in self.kinds for value in kind.values):
            first = said.setdefault(value.quantity, value)
            if (first.rollover_at, first.count) != (value.rollover_at, value.count):
                raise ValueError(f"{value.quantity} has two different rollover_at or count; one device counts one way")
        return self

    @property
    def kinds(self) -> tuple[MqttMessage, ...]:
        """Every kind of message, in either form of the map."""
        return self.messages or (MqttMessage(topic=self.topic, time=self.time, values=self.values),)

    @property
    def every_value(self) -> tuple[MqttValue, ...]:
        """One value for each quantity that the device delivers, in the order of the map."""
        first: dict[str, MqttValue] = {}
        for kind in self.kinds:
            for value in kind.values:
                first.setdefault(value.quantity, value)
        return tuple(first.values())


def filled(pattern: str, topic: str) -> str:
    """Return a topic pattern or a path with the meter's own topic in its place."""
    device, _, channel = topic.rpartition("/")
    return pattern.replace("{topic}", topic).replace("{device}", device).replace("{channel}", channel)
