"""`emsd carbon certificates`: certificates and contracts, and what is done with them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias
from zoneinfo import ZoneInfo

import typer

from emsd.cli.carbon.common import (
    AsJson,
    Author,
    Site,
    instant_of,
    on_site,
    period_of,
    positive,
    print_json,
    print_table,
    zone_of,
)
from emsd.cli.options import DatabaseUrl
from emsd.cli.outcome import one_sentence
from emsd.errors import SettingsError

if TYPE_CHECKING:
    from emsd.store.certificate_journal import EventRow, NewEventKind
    from emsd.store.certificates import InstrumentRow
    from emsd.store.pool import Pool

__all__ = ["app"]

app = typer.Typer(
    help="Certificates and contracts: entered once, retired, sold or cancelled, never changed.",
    no_args_is_help=True,
)

Kind: TypeAlias = Literal["gec", "i_rec", "go", "rec", "granular", "ppa", "green_tariff", "other_contract"]
Called: TypeAlias = Annotated[str, typer.Argument(metavar="SERIAL", help="Serial, or number as `list` shows it.")]
Amount: TypeAlias = Annotated[str | None, typer.Option("--mwh", help="How much [MWh]; absent: all that is left.")]
Document: TypeAlias = Annotated[str, typer.Option(help="What proves it: file, number, date.")]
Note: TypeAlias = Annotated[str, typer.Option(help="What else there is to say.")]


@app.command("add")
def add(
    serial: Annotated[str, typer.Argument(help="Number in the registry, the first of a batch; each counts once.")],
    database_url: DatabaseUrl,
    author: Author,
    kind: Annotated[Kind, typer.Option(help="What it is.")],
    registry: Annotated[str, typer.Option(help="Who issued it, or the other party of a contract.")],
    mwh: Annotated[str, typer.Option(help="Energy [MWh]; one certificate is 1 MWh.")],
    produced_from: Annotated[str, typer.Option(help="First day of production, or an instant with its offset.")],
    produced_to: Annotated[str, typer.Option(help="First day after it.")],
    energy_source: Annotated[str, typer.Option(help="Such as solar, wind, hydro.")],
    document: Document,
    last_serial: Annotated[str | None, typer.Option("--to-serial", help="The last number of a batch.")] = None,
    valid_to: Annotated[
        str | None, typer.Option(help="First day on which it is worthless; absent: 24 months on, 18 for go.")
    ] = None,
    kg_per_kwh: Annotated[str, typer.Option(help="Emissions of its energy [kgCO2/kWh].")] = "0",
    own_pv: Annotated[bool, typer.Option("--own-pv", help="It was issued for the site's own PV.")] = False,
    note: Note = "",
    site: Site = None,
) -> None:
    """Enter a certificate (or a batch of one serial) or a contract."""
    from emsd.store.certificates import NewInstrument, add_instrument, valid_until

    async def enter(pool: Pool, site_id: int) -> int:
        zone = await zone_of(pool, site_id)
        end = instant_of(produced_to, "--produced-to", zone)
        new = NewInstrument(
            registry=registry,
            serial=serial,
            kind=kind,
            own_pv=own_pv,
            energy_source=energy_source,
            energy_mwh=positive(mwh, "--mwh"),
            kg_per_kwh=positive(kg_per_kwh, "--kg-per-kwh"),
            produced_from=instant_of(produced_from, "--produced-from", zone),
            produced_to=end,
            valid_to=valid_until(kind, end) if valid_to is None else instant_of(valid_to, "--valid-to", zone),
            document=document,
            author=author,
            note=note,
            last_serial=last_serial,
        )
        return await add_instrument(pool, site_id, new)

    number = on_site(database_url, site, enter)
    typer.echo(f"entered {kind} {serial} as number {number}: {mwh} MWh")


@app.command("list")
def list_all(database_url: DatabaseUrl, site: Site = None, as_json: AsJson = False) -> None:
    """Show every certificate and contract with what is left of it."""
    from emsd.store.certificates import list_instruments

    async def read(pool: Pool, site_id: int) -> tuple[list[InstrumentRow], ZoneInfo]:
        return await list_instruments(pool, site_id), await zone_of(pool, site_id)

    rows, zone = on_site(database_url, site, read)
    if as_json:
        print_json([_document(row) for row in rows])
        return
    print_table(
        ("No.", "kind", "registry", "serial", "source", "MWh", "retired", "sold", "cancelled", "left", "produced",
         "valid until"),
        [
            (
                str(row.instrument_id), row.kind + " (own PV)" * row.own_pv + " (void)" * row.is_void,
                row.registry, row.serial if row.last_serial is None else f"{row.serial} to {row.last_serial}",
                row.energy_source, f"{row.energy_mwh:f}", f"{row.retired_mwh:f}", f"{row.sold_mwh:f}",
                f"{row.cancelled_mwh:f}", f"{row.left_mwh:f}",
                f"{_day(row.produced_from, zone)} to {_day(row.produced_to, zone)}", _day(row.valid_to, zone),
            )
            for row in rows
        ],
    )  # fmt: skip


@app.command("journal")
def journal(database_url: DatabaseUrl, site: Site = None, as_json: AsJson = False) -> None:
    """Show everything that was done with certificates and contracts, the oldest first."""
    from emsd.store.certificate_journal import list_events

    async def read(pool: Pool, site_id: int) -> tuple[list[EventRow], ZoneInfo]:
        return await list_events(pool, site_id), await zone_of(pool, site_id)

    rows, zone = on_site(database_url, site, read)
    if as_json:
        print_json([{name: getattr(row, name) for name in row.__slots__} for row in rows])
        return
    print_table(
        ("entry", "No.", "what", "MWh", "for use", "on", "author", "document", "note"),
        [_journal_row(row, zone) for row in rows],
    )


@app.command("retire")
def retire(
    serial: Called,
    database_url: DatabaseUrl,
    author: Author,
    document: Document,
    period: Annotated[str | None, typer.Option("--for", help="Use that it covers: a year or month, 2026-03.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Or its first day, or an instant with offset.")] = None,
    to: Annotated[str | None, typer.Option(help="And the first day after it.")] = None,
    mwh: Amount = None,
    on: Annotated[str | None, typer.Option(help="Day of the retirement; absent: today.")] = None,
    note: Note = "",
    site: Site = None,
) -> None:
    """Use certificates or contracted energy for a period; a megawatt-hour can be used once."""
    with one_sentence():
        use = _use(period, from_, to)
    _say_done(database_url, site, _Doing(serial, "retire", mwh, author, document, note, on, use))


@app.command("sell")
def sell(
    serial: Called,
    database_url: DatabaseUrl,
    author: Author,
    document: Document,
    mwh: Amount = None,
    note: Note = "",
    site: Site = None,
) -> None:
    """Give certificates away; those of the site's own PV take its zero with them."""
    _say_done(database_url, site, _Doing(serial, "sell", mwh, author, document, note))


@app.command("cancel")
def cancel(
    serial: Called,
    database_url: DatabaseUrl,
    author: Author,
    document: Document,
    mwh: Amount = None,
    note: Note = "",
    site: Site = None,
) -> None:
    """Take what is left out of use: expired, or cancelled by its registry."""
    _say_done(database_url, site, _Doing(serial, "cancel", mwh, author, document, note))


@app.command("void")
def void(
    serial: Called,
    database_url: DatabaseUrl,
    author: Author,
    note: Annotated[str, typer.Option(help="Why.")],
    site: Site = None,
) -> None:
    """Take back a certificate that was entered by mistake and not used; its serials are free to be entered rightly."""
    _say_done(database_url, site, _Doing(serial, "void", None, author, "entered by mistake", note))


@app.command("reverse")
def reverse(
    entry: Annotated[int, typer.Argument(help="Entry of the journal, as `journal` shows it.")],
    database_url: DatabaseUrl,
    author: Author,
    note: Annotated[str, typer.Option(help="Why.")],
    site: Site = None,
) -> None:
    """Take back an entry that should not have been made; both stay in the journal."""
    from emsd.store.certificate_journal import reverse_event

    number = on_site(
        database_url,
        site,
        lambda pool, site_id: reverse_event(pool, site_id, entry, author=author, note=note, now=datetime.now(UTC)),
    )
    typer.echo(f"entry {number} takes back entry {entry}")


def _use(period: str | None, from_: str | None, to: str | None) -> tuple[str, str]:
    if period is not None and from_ is None and to is None:
        first, end = period_of(period)
        return first.isoformat(), end.isoformat()
    if period is None and from_ is not None and to is not None:
        return from_, to
    raise SettingsError("name the use with --for, or with --from and --to")


@dataclass(frozen=True, slots=True)
class _Doing:
    """What a person wrote: without `mwh` all that is left, without `on` now; `use` of a retirement alone."""

    serial: str
    kind: NewEventKind
    mwh: str | None
    author: str
    document: str
    note: str
    on: str | None = None
    use: tuple[str, str] | None = None


def _say_done(database_url: str, site: int | None, doing: _Doing) -> None:
    typer.echo(on_site(database_url, site, lambda pool, site_id: _do(pool, site_id, doing)))


async def _do(pool: Pool, site_id: int, doing: _Doing) -> str:
    from emsd.store.certificate_journal import NewEvent, add_event
    from emsd.store.certificates import instrument_called

    zone = await zone_of(pool, site_id)
    row = await instrument_called(pool, site_id, doing.serial)
    amount = row.left_mwh if doing.mwh is None else positive(doing.mwh, "--mwh")
    use = (None, None) if doing.use is None else doing.use
    event = NewEvent(
        instrument_id=row.instrument_id,
        kind=doing.kind,
        energy_mwh=amount,
        happened_at=datetime.now(UTC) if doing.on is None else instant_of(doing.on, "--on", zone),
        document=doing.document,
        author=doing.author,
        note=doing.note,
        period_from=None if use[0] is None else instant_of(use[0], "--from", zone),
        period_to=None if use[1] is None else instant_of(use[1], "--to", zone),
    )
    number = await add_event(pool, site_id, event)
    left = f"{row.left_mwh - amount:f} MWh are left"
    return f"entry {number}: {doing.kind} {amount:f} MWh of {row.kind} {row.serial}; {left}"


def _day(instant: datetime, zone: ZoneInfo) -> str:
    """Return the local day of an instant; with its time where it is not the day's beginning."""
    local = instant.astimezone(zone)
    return f"{local:%Y-%m-%d}" if local.time() == time() else f"{local:%Y-%m-%d %H:%M}"


def _journal_row(row: EventRow, zone: ZoneInfo) -> tuple[str, ...]:
    what = row.kind if row.reverses is None else f"reverse {row.reverses}"
    use = ""
    if row.period_from is not None and row.period_to is not None:
        use = f"{_day(row.period_from, zone)} to {_day(row.period_to, zone)}"
    return (
        str(row.event_id), str(row.instrument_id), what + (" (taken back)" if row.is_reversed else ""),
        f"{row.energy_mwh:f}", use, _day(row.happened_at, zone), row.author, row.document, row.note,
    )  # fmt: skip


def _document(row: InstrumentRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}
