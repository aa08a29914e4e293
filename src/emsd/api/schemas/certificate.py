"""Certificates and contracts, and what is done with them, as they are entered and answered."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

from pydantic import ConfigDict, Field

from emsd.api.schemas.answer import Answer
from emsd.api.schemas.carbon_words import Amount, Asked, Instant, Text, Word
from emsd.energy.ledger.inputs import InstrumentLevel
from emsd.store.certificate_journal import EventKind, NewEventKind

__all__ = [
    "CertificateEntered",
    "CertificateEntry",
    "CertificateList",
    "EventEntry",
    "EventList",
    "EventRequest",
    "NewCertificate",
]


class NewCertificate(Asked):
    """A certificate, a batch of one serial, or a contract."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "serial": "GEC-2026-000123", "registry": "China Renewable Energy Engineering Institute",
                    "kind": "gec", "energy_mwh": "500", "energy_source": "wind",
                    "produced_from": "2026-01-31T16:00:00Z", "produced_to": "2026-02-28T16:00:00Z",
                    "document": "Trade 88-1", "author": "l.wei",
                }
            ]
        },
    )  # fmt: skip

    serial: Word = Field(description="Number in the registry, the first one of a batch; each counts once.")
    last_serial: Word | None = Field(default=None, description="The last number of a batch.")
    registry: Word = Field(description="Who issued it, or the other party of a contract.")
    kind: Literal["gec", "i_rec", "go", "rec", "granular", "ppa", "green_tariff", "other_contract"]
    own_pv: bool = Field(default=False, description="It was issued for the site's own PV.")
    energy_source: Word = Field(description="Such as solar, wind, hydro.")
    energy_mwh: Amount = Field(gt=0, description="[MWh]; one certificate is 1 MWh.")
    kg_per_kwh: Amount = Field(default=Decimal(0), description="Emissions of its energy [kgCO2/kWh].")
    produced_from: Instant
    produced_to: Instant
    valid_to: Instant | None = Field(default=None, description="Absent: 24 months after its production, 18 for go.")
    document: Word = Field(description="What proves it.")
    author: Word
    note: Text = ""


class CertificateEntered(Answer):
    """The number that an entry got."""

    number: int = Field(examples=[12])


class EventRequest(Asked):
    """What is done with a certificate or contract."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "kind": "retire", "energy_mwh": "120", "period_from": "2025-12-31T16:00:00Z",
                    "period_to": "2026-12-31T16:00:00Z", "document": "Retirement statement 7", "author": "l.wei",
                }
            ]
        },
    )  # fmt: skip

    kind: NewEventKind
    energy_mwh: Amount = Field(gt=0, description="[MWh]")
    period_from: Instant | None = Field(default=None, description="Of the use that is covered; for retire only.")
    period_to: Instant | None = Field(default=None, description="Its end, exclusive.")
    happened_at: Instant | None = Field(default=None, description="When; absent: now.")
    document: Word
    author: Word
    note: Text = ""


class CertificateEntry(Answer):
    """A certificate or contract with what is left of it."""

    instrument_id: int = Field(examples=[12])
    registry: str
    serial: str
    last_serial: str | None = Field(description="The last number of a batch.")
    kind: str = Field(examples=["gec"])
    level: InstrumentLevel
    own_pv: bool
    energy_source: str
    energy_mwh: float = Field(description="[MWh]")
    retired_mwh: float = Field(description="[MWh]")
    sold_mwh: float = Field(description="[MWh]")
    cancelled_mwh: float = Field(description="[MWh]")
    left_mwh: float = Field(description="[MWh]")
    is_void: bool = Field(description="It was entered by mistake; its serials are free again.")
    kg_per_kwh: float = Field(description="[kgCO2/kWh]")
    produced_from: datetime
    produced_to: datetime
    valid_to: datetime
    document: str
    author: str
    note: str


class CertificateList(Answer):
    """Certificates and contracts in the order of their production."""

    certificates: list[CertificateEntry]


class EventEntry(Answer):
    """One entry of the journal."""

    event_id: int
    kind: EventKind
    energy_mwh: float = Field(description="[MWh]")
    period_from: datetime | None
    period_to: datetime | None
    happened_at: datetime
    reverses: int | None = Field(description="The entry that it takes back.")
    is_reversed: bool
    document: str
    author: str
    note: str


class EventList(Answer):
    """The journal of one certificate or contract, the oldest entry first."""

    instrument_id: int
    events: list[EventEntry]
