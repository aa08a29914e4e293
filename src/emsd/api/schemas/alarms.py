"""Alarms and their journal."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from emsd.alarms.lifecycle import AlarmState, Step
from emsd.api.schemas.answer import Answer
from emsd.plant.models import Priority

__all__ = ["Acknowledgement", "AlarmEntry", "AlarmJournal", "AlarmList", "JournalEntry"]


class AlarmEntry(Answer):
    """An alarm with its present state."""

    alarm_id: int = Field(examples=[7])
    meter: str = Field(examples=["compressor-1-controller"])
    meter_name: str = Field(examples=["Compressor 1 controller"])
    rule: str = Field(description="Key of its rule.", examples=["discharge-temperature-high"])
    name: str = Field(examples=["Discharge temperature high"])
    priority: Priority
    condition: str = Field(description="The rule in words.", examples=["airend_temperature_c > 105 degC for 60 s"])
    advice: str = Field(description="What to do first.", examples=["Check the oil cooler."])
    state: AlarmState
    since: datetime = Field(description="When it entered this state.")
    value: float | None = Field(description="Value at the last transition, in the quantity's unit.", examples=[107.2])
    retired_at: datetime | None = Field(description="When its rule left the configuration.")


class AlarmList(Answer):
    """Alarms; those that ask for a person come first."""

    alarms: list[AlarmEntry]
    total: int = Field(description="How many there are in all.", examples=[1])


class JournalEntry(Answer):
    """One transition of an alarm."""

    journal_id: int = Field(examples=[21])
    time: datetime
    transition: Step
    from_state: AlarmState
    to_state: AlarmState
    value: float | None = Field(examples=[107.2])
    author: str | None = Field(description="Who acknowledged.", examples=["l.wei"])
    note: str = Field(examples=["Fan belt ordered."])


class AlarmJournal(Answer):
    """The transitions of one alarm, the newest first."""

    alarm_id: int = Field(examples=[7])
    entries: list[JournalEntry]


# Line breaks are text; the other control characters, NUL above all, are none that a database or a terminal should get.
_NO_CONTROL_CHARACTERS = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"


class Acknowledgement(BaseModel):
    """Who has seen an alarm, and what they say of it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"author": "l.wei", "note": "On it."}]})

    author: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_NO_CONTROL_CHARACTERS)
    ]
    note: Annotated[str, StringConstraints(max_length=2000, pattern=_NO_CONTROL_CHARACTERS)] = ""
