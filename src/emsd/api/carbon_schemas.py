"""What the carbon ledger answers and takes: every field with its unit."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from emsd.energy.ledger.gwp import GwpSet
from emsd.energy.ledger.inputs import InstrumentLevel, Matching

__all__ = [
    "ActivityEntered",
    "ActivityEntry",
    "ActivityList",
    "AreaEntry",
    "CertificateEntered",
    "CertificateEntry",
    "CertificateList",
    "ChangeEntry",
    "EventEntry",
    "EventList",
    "EventRequest",
    "GasEntry",
    "InstrumentUse",
    "LedgerAnswer",
    "LedgerFactor",
    "LedgerFigures",
    "NewActivity",
    "NewCertificate",
    "StatementDetail",
    "StatementList",
    "StatementProof",
    "StatementSummary",
]

_NO_CONTROL = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
Word: TypeAlias = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=_NO_CONTROL)
]
Text: TypeAlias = Annotated[str, StringConstraints(max_length=2000, pattern=_NO_CONTROL)]
Amount: TypeAlias = Annotated[Decimal, Field(ge=0, le=10**12, max_digits=30, allow_inf_nan=False)]
Share: TypeAlias = Annotated[Decimal, Field(ge=0, le=1, max_digits=20, allow_inf_nan=False)]
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
Instant: TypeAlias = Annotated[AwareDatetime, Field(ge=_EARLIEST, lt=_LATEST)]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, serialize_by_alias=True, validate_by_name=True)


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LedgerFigures(_Answer):
    """Figures of a month or of the whole period; null is unknown, never 0."""

    name: str = Field(description="Local month, or total.", examples=["2026-03"])
    grid_import_kwh: float | None = Field(description="What the top meters took from the grid [kWh].")
    grid_export_kwh: float | None = Field(description="What they gave to it [kWh].")
    generation_kwh: float | None = Field(description="Yield of own PV [kWh].")
    pv_used_kwh: float | None = Field(description="Own PV used on site [kWh].")
    load_kwh: float | None = Field(description="Grid import plus own PV used [kWh].")
    coverage: float | None = Field(description="Share 0..1 of the time that the grid meters measured.")
    generation_coverage: float | None = Field(description="The same of the PV meters.")
    estimated_share: float | None = Field(description="Share 0..1 of the grid energy that was spread over gaps.")
    scope1_kg: float | None = Field(description="Scope 1 [kgCO2e]; null: no activity was entered.")
    location_kg: float | None = Field(description="Scope 2, location-based [kgCO2e].")
    location_coverage: float | None = Field(description="Share 0..1 of the grid import with a location-based factor.")
    market_kg: float | None = Field(description="Scope 2, market-based [kgCO2e].")
    market_coverage: float | None = Field(description="Share 0..1 of it with a factor of any kind.")
    certificate_kwh: float = Field(description="Use covered by retired certificates [kWh].")
    contract_kwh: float = Field(description="Use covered by contracts [kWh].")
    supplier_kwh: float = Field(description="Use by the supplier's factor [kWh].")
    residual_kwh: float = Field(description="Use by the residual mix [kWh].")
    location_kwh: float = Field(description="Use by the location-based factor, for want of a residual one [kWh].")
    without_factor_kwh: float = Field(description="Use without any factor; it is in no figure [kWh].")
    sold_pv_kwh: float = Field(description="Own PV used whose certificates were sold: residual mix [kWh].")
    avoided_kg: float | None = Field(description="Own PV used x location-based factor; beside, never inside [kgCO2].")
    self_consumption: float | None = Field(description="PV used / PV yield, 0..1.")
    self_sufficiency: float | None = Field(description="PV used / load, 0..1.")
    renewable_coverage: float | None = Field(description="(PV used + covered by certificates) / load, 0..1.")


class LedgerFactor(_Answer):
    """A factor that went into the ledger."""

    region: str = Field(examples=["CN"])
    method: str = Field(description="location, market (the supplier's) or residual.", examples=["location"])
    resolution: Literal["period", "hour"] = Field(description="One value, or one by the hour.")
    kg_per_kwh: float | None = Field(description="[kgCO2/kWh]; null for a series of hours.", examples=[0.5366])
    version: int = Field(examples=[1])
    source: str
    valid_from: datetime
    valid_to: datetime | None


class GasEntry(_Answer):
    """Scope 1 by substance and gas."""

    substance: str = Field(examples=["NF3"])
    process: str | None = Field(examples=["chamber_clean_remote"])
    gas: str = Field(examples=["NF3"])
    emitted_kg: float = Field(description="Of the gas itself [kg].")
    kg_co2e: float = Field(description="Times its GWP [kgCO2e].")


class AreaEntry(_Answer):
    """An area: its electricity as if all came from the grid, and Scope 1 that was entered for it."""

    area: str | None = Field(description="Key; null: Scope 1 that was entered without an area.", examples=["fab"])
    name: str | None = Field(examples=["Fab building"])
    consumption_kwh: float | None = Field(description="Consumption, areas below included [kWh].")
    location_kg: float | None = Field(description="Times the location-based factor [kgCO2].")
    coverage: float | None = Field(description="Share 0..1 of the time that its meters measured.")
    scope1_kg: float | None = Field(description="Scope 1 of this area alone [kgCO2e].")


class InstrumentUse(_Answer):
    """What a certificate or contract covers in the period."""

    serial: str = Field(examples=["GEC-2026-000123"])
    registry: str
    level: InstrumentLevel
    available_kwh: float = Field(description="Retired for the period [kWh].")
    matched_kwh: float = Field(description="Of it what covers use [kWh].")
    surplus_kwh: float = Field(description="Of it what covers nothing [kWh].")
    reason: str = Field(description="Why it covers nothing at all; empty otherwise.")


class LedgerAnswer(_Answer):
    """The carbon ledger of some local days."""

    from_: datetime = Field(alias="from")
    to: datetime = Field(description="A period that is running ends at the last quarter of an hour.")
    time_zone: str = Field(examples=["Asia/Shanghai"])
    carbon_region: str = Field(description="Region of the location-based factor.", examples=["CN"])
    residual_region: str = Field(description="Region of the residual factor.", examples=["CN"])
    gwp_set: GwpSet = Field(description="Whose global warming potentials count.")
    matching: Matching = Field(description="How certificates are matched with use.")
    total: LedgerFigures
    months: list[LedgerFigures]
    scope1: list[GasEntry]
    areas: list[AreaEntry]
    instruments: list[InstrumentUse]
    factors: list[LedgerFactor]
    missing: list[str] = Field(description="What is not in the figures, or not known well enough, in words.")


class NewActivity(_Asked):
    """Fuel that was burned, process gas that was used, or gas that was lost."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "reference": "NF3-2026-03", "kind": "process_gas", "substance": "NF3",
                    "process": "chamber_clean_remote", "period_from": "2026-02-28T16:00:00Z",
                    "period_to": "2026-03-31T16:00:00Z", "amount": "120.5", "unit": "kg", "abated_share": "1",
                    "document": "Gas store, delivery note 4711", "author": "l.wei",
                }
            ]
        },
    )  # fmt: skip

    reference: Word = Field(description="What its document calls it; entered again, it is replaced or refused.")
    kind: Literal["fuel", "process_gas", "release"]
    substance: Word = Field(description="Fuel or gas.")
    process: Word | None = Field(default=None, description="Of a process gas: etch, chamber_clean_remote, ...")
    period_from: Instant = Field(description="Begin of the use.")
    period_to: Instant = Field(description="End of the use, exclusive.")
    area: Word | None = Field(default=None, description="Key of the area.")
    asset: Word | None = Field(default=None, description="Key of the asset.")
    amount: Amount
    unit: Word = Field(description="kg, t, L, m3, gal, GJ, ...")
    heel: Share | None = Field(default=None, description="Share left in the bottle; absent: 0.10.")
    utilization: Share | None = Field(default=None, description="Share used up; absent: the published default.")
    abated_share: Share | None = Field(default=None, description="Share through abatement; absent: none.")
    destruction: Share | None = Field(default=None, description="Share destroyed there; absent: the default.")
    factor_kg_per_unit: Amount | None = Field(default=None, description="Own factor of a fuel [kgCO2e/unit].")
    factor_source: Word | None = Field(default=None, description="Who published it.")
    document: Word = Field(description="What proves it.")
    author: Word
    note: Text = ""
    is_void: bool = Field(default=False, description="Takes back the entry of this reference.")
    replace: bool = Field(default=False, description="Replace what is entered under this reference.")


class ActivityEntered(_Answer):
    """What became of an entry."""

    reference: str
    outcome: Literal["added", "replaced", "unchanged"]


class ActivityEntry(_Answer):
    """An activity with its emissions."""

    activity_id: int
    activity: dict[str, Any] = Field(description="As it was entered; numbers are exact decimals as text.")
    in_force: bool = Field(description="false: a later version replaced it.")
    recorded_at: datetime
    kg_co2e: dict[GwpSet, float] = Field(description="By GWP set, as computed when it was entered [kgCO2e].")


class ActivityList(_Answer):
    """Activities, the latest first."""

    activities: list[ActivityEntry]


class NewCertificate(_Asked):
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

    serial: Word = Field(description="Number in the registry; each counts once.")
    registry: Word = Field(description="Who issued it, or the other party of a contract.")
    kind: Literal["gec", "i_rec", "go", "rec", "granular", "ppa", "green_tariff", "other_contract"]
    own_pv: bool = Field(default=False, description="It was issued for the site's own PV.")
    energy_source: Word = Field(description="Such as solar, wind, hydro.")
    energy_mwh: Amount = Field(gt=0, description="[MWh]; one certificate is 1 MWh.")
    kg_per_kwh: Amount = Field(default=Decimal(0), description="Emissions of its energy [kgCO2/kWh].")
    produced_from: Instant
    produced_to: Instant
    valid_to: Instant | None = Field(default=None, description="Absent: two years after its production.")
    document: Word = Field(description="What proves it.")
    author: Word
    note: Text = ""


class CertificateEntered(_Answer):
    """The number that an entry got."""

    number: int = Field(examples=[12])


class EventRequest(_Asked):
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

    kind: Literal["retire", "sell", "cancel"]
    energy_mwh: Amount = Field(gt=0, description="[MWh]")
    period_from: Instant | None = Field(default=None, description="Of the use that is covered; for retire only.")
    period_to: Instant | None = Field(default=None, description="Its end, exclusive.")
    happened_at: Instant | None = Field(default=None, description="When; absent: now.")
    document: Word
    author: Word
    note: Text = ""


class CertificateEntry(_Answer):
    """A certificate or contract with what is left of it."""

    instrument_id: int = Field(examples=[12])
    registry: str
    serial: str
    kind: str = Field(examples=["gec"])
    level: InstrumentLevel
    own_pv: bool
    energy_source: str
    energy_mwh: float = Field(description="[MWh]")
    retired_mwh: float = Field(description="[MWh]")
    sold_mwh: float = Field(description="[MWh]")
    cancelled_mwh: float = Field(description="[MWh]")
    left_mwh: float = Field(description="[MWh]")
    kg_per_kwh: float = Field(description="[kgCO2/kWh]")
    produced_from: datetime
    produced_to: datetime
    valid_to: datetime
    document: str
    author: str
    note: str


class CertificateList(_Answer):
    """Certificates and contracts in the order of their production."""

    certificates: list[CertificateEntry]


class EventEntry(_Answer):
    """One entry of the journal."""

    event_id: int
    kind: Literal["retire", "sell", "cancel", "reverse"]
    energy_mwh: float = Field(description="[MWh]")
    period_from: datetime | None
    period_to: datetime | None
    happened_at: datetime
    reverses: int | None = Field(description="The entry that it takes back.")
    is_reversed: bool
    document: str
    author: str
    note: str


class EventList(_Answer):
    """The journal of one certificate or contract, the oldest entry first."""

    instrument_id: int
    events: list[EventEntry]


class StatementSummary(_Answer):
    """A statement, without its document."""

    statement_id: int = Field(examples=[3])
    period_from: datetime
    period_to: datetime
    author: str
    created_at: datetime
    sha256: str
    previous_sha256: str | None
    restates: int | None = Field(description="The statement that this one replaces.")
    reason: str | None
    restated_by: int | None = Field(description="The statement that replaces this one.")
    public_key: str = Field(description="Ed25519, 32 bytes in base64.")
    key_fingerprint: str


class StatementList(_Answer):
    """Statements in the order in which they were made."""

    statements: list[StatementSummary]


class StatementDetail(StatementSummary):
    """A statement with its figures."""

    signature: str = Field(description="Of the document, 64 bytes in base64.")
    document: dict[str, Any] = Field(description="What was signed; numbers are exact decimals as text.")


class ChangeEntry(_Answer):
    """Something that the database says otherwise today."""

    what: str
    before: str | None
    after: str | None


class StatementProof(_Answer):
    """What checking a statement showed."""

    statement_id: int
    holds: bool = Field(description="Digest, signature, chain and recomputation are all right.")
    problems: list[str]
    key_fingerprint: str = Field(description="Compare it with the one on paper.")
    changed_since: list[ChangeEntry] = Field(description="What it rests on and is not so any more; no fault of it.")
