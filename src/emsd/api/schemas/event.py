"""What the API says and takes of meter events."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

__all__ = ["EventEntry", "EventList", "NewEvent"]

_PRINTABLE = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
"""Line breaks are text; the other control characters, NUL above all, are none that a database should get."""

Kwh: TypeAlias = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
Sentence: TypeAlias = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000, pattern=_PRINTABLE)
]
Name: TypeAlias = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_PRINTABLE)
]


class NewEvent(BaseModel):
    """What happened to a meter, who says so, and why it is written down; see docs/meter-events.md."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "kind": "swap",
                    "at": "2026-01-31T08:00:00Z",
                    "author": "l.wei",
                    "note": "Calibration due; work order 4711.",
                    "final_import_kwh": 912345.6,
                    "initial_import_kwh": 0.0,
                    "serial": "2402117",
                }
            ]
        },
    )

    kind: Literal["swap", "reset", "ct_ratio", "manual_reading", "hold_out", "withdrawal"] = Field(
        description="A withdrawal only supersedes; hold_out leaves readings out of energy."
    )
    at: AwareDatetime | None = Field(
        None, description="When it happened, with its offset; all but a withdrawal need it."
    )
    author: Name = Field(description="Who says so.")
    note: Sentence = Field(description="Why, and by which document.")
    supersedes: int | None = Field(None, ge=1, le=2**63 - 1, description="Number of the event that this one replaces.")
    final_import_kwh: Kwh | None = Field(None, description="swap, reset: what the import counter showed last [kWh].")
    final_export_kwh: Kwh | None = Field(None, description="swap, reset: what the export counter showed last [kWh].")
    initial_import_kwh: Kwh | None = Field(None, description="swap: what the new import counter showed first [kWh].")
    initial_export_kwh: Kwh | None = Field(None, description="swap: what the new export counter showed first [kWh].")
    serial: Name | None = Field(None, description="swap: serial number of the new device.")
    factor: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="ct_ratio: true energy / energy that the device shows."
    )
    import_kwh: Kwh | None = Field(None, description="manual_reading: the import counter [kWh].")
    export_kwh: Kwh | None = Field(None, description="manual_reading: the export counter [kWh].")
    until: AwareDatetime | None = Field(None, description="hold_out: the end, not included, with its offset.")


class EventEntry(BaseModel):
    """One entry of the ledger, as it was written."""

    model_config = ConfigDict(frozen=True)

    event_id: int = Field(description="Number of the event.", examples=[17])
    meter: str = Field(description="Key of the meter.", examples=["incomer"])
    kind: str = Field(examples=["swap"])
    at: datetime = Field(description="When it happened.")
    detail: dict[str, Any] = Field(
        description="What its kind needs.", examples=[{"final": {"import_kwh": 912345.6}, "serial": "2402117"}]
    )
    author: str = Field(description="Who says so; emsd: the service itself.", examples=["l.wei"])
    note: str = Field(examples=["Calibration due; work order 4711."])
    recorded_at: datetime = Field(description="When it was written.")
    supersedes: int | None = Field(description="Number of the event that this one replaced.")
    superseded_by: int | None = Field(description="Number of the one that replaced it; it then counts no more.")


class EventList(BaseModel):
    """The ledger of one meter, the latest event first."""

    model_config = ConfigDict(frozen=True)

    meter: str = Field(description="Key of the meter.", examples=["incomer"])
    events: list[EventEntry]
