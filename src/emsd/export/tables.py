"""The tables that everybody asks for: readings, intervals, meter events, sums; with units and the facts of the site."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from emsd.energy.windows import Tier
from emsd.export.schema import Column, ColumnKind, TableSchema
from emsd.quantities import Kind, Quantity
from emsd.store.export import EVENT_COLUMNS, INTERVAL_COLUMNS, READING_COLUMNS
from emsd.store.plant_view import PlantView

__all__ = ["events_table", "intervals_table", "readings_table", "site_facts", "sums_table"]

_KWH, _KW, _SHARE = "kWh", "kW", "1"

_COLUMNS: Final = {
    column.name: column
    for column in (
        Column("day", ColumnKind.DAY, title="Local day of the site"),
        Column("quality", ColumnKind.INTEGER, title="Bits of what is wrong with the reading; 0 is good"),
        Column("energy_import_kwh", ColumnKind.DOUBLE, _KWH, "Energy imported"),
        Column("energy_export_kwh", ColumnKind.DOUBLE, _KWH, "Energy exported"),
        Column("estimated_import_kwh", ColumnKind.DOUBLE, _KWH, "Part of the import that was spread over gaps"),
        Column("estimated_export_kwh", ColumnKind.DOUBLE, _KWH, "Part of the export that was spread over gaps"),
        Column("power_min_kw", ColumnKind.REAL, _KW, "Least active power"),
        Column("power_avg_kw", ColumnKind.REAL, _KW, "Mean active power"),
        Column("power_max_kw", ColumnKind.REAL, _KW, "Greatest active power"),
        Column("coverage", ColumnKind.REAL, _SHARE, "Share of the time that was measured"),
        Column("sample_count", ColumnKind.INTEGER, _SHARE, "Readings in it"),
        Column("flags", ColumnKind.INTEGER, title="Bits of what was special about its energy; 0 is nothing"),
        Column("computed_at", ColumnKind.INSTANT, title="When it was computed"),
        Column("event_id", ColumnKind.INTEGER, title="Number in the ledger"),
        Column("supersedes", ColumnKind.INTEGER, title="Number of the event that it replaces"),
        Column("kind", ColumnKind.TEXT, title="What happened"),
        Column("detail", ColumnKind.TEXT, title="Its particulars as JSON"),
        Column("author", ColumnKind.TEXT, title="Who says so"),
        Column("note", ColumnKind.TEXT, title="In words"),
        Column("recorded_at", ColumnKind.INSTANT, title="When it was written down"),
    )
}
_FIGURES: Final = (
    Column("import_kwh", ColumnKind.DOUBLE, _KWH, "Energy imported"),
    Column("export_kwh", ColumnKind.DOUBLE, _KWH, "Energy exported"),
    Column("net_kwh", ColumnKind.DOUBLE, _KWH, "Import less export"),
    Column("generation_kwh", ColumnKind.DOUBLE, _KWH, "Delivered by own PV"),
    Column("consumption_kwh", ColumnKind.DOUBLE, _KWH, "Net and generation"),
    Column("coverage", ColumnKind.DOUBLE, _SHARE, "Share of the time that was measured, mean over the meters"),
    Column("generation_coverage", ColumnKind.DOUBLE, _SHARE, "The same of the PV meters"),
    Column("estimated_share", ColumnKind.DOUBLE, _SHARE, "Share of import and export that was spread over gaps"),
    Column("kg_co2", ColumnKind.DOUBLE, "kg", "Location-based emissions of carbon dioxide"),
    Column("carbon_coverage", ColumnKind.DOUBLE, _SHARE, "Share of the energy that had a factor"),
)


def site_facts(plant: PlantView, from_: datetime, to: datetime) -> dict[str, str]:
    """Return what every table of a site says of itself."""
    return {
        "site": plant.site.name,
        "time_zone": plant.site.time_zone,
        "from": from_.isoformat(),
        "to": to.isoformat(),
    }


def readings_table(
    plant: PlantView, meters: Sequence[str], quantities: Sequence[Quantity], from_: datetime, to: datetime
) -> TableSchema:
    """Return the table of `emsd.store.export.open_readings`: one wide row for a reading."""
    kinds = {Kind.COUNTER: ColumnKind.DOUBLE, Kind.GAUGE: ColumnKind.REAL}
    columns = (
        *_named(READING_COLUMNS, meters, time=ColumnKind.INSTANT),
        *(Column(each.name, kinds[each.kind], each.unit, each.title) for each in quantities),
    )
    return TableSchema("readings", columns, site_facts(plant, from_, to))


def intervals_table(plant: PlantView, meters: Sequence[str], tier: Tier, from_: datetime, to: datetime) -> TableSchema:
    """Return the table of `emsd.store.export.open_intervals`."""
    time, meter, *rest = INTERVAL_COLUMNS
    names = (time, meter, *(("day",) if tier == "1d" else ()), *rest)
    facts = {**site_facts(plant, from_, to), "tier": tier}
    return TableSchema("intervals", _named(names, meters, time=ColumnKind.SECOND), facts)


def events_table(plant: PlantView, meters: Sequence[str], from_: datetime, to: datetime) -> TableSchema:
    """Return the table of `emsd.store.export.open_events`."""
    return TableSchema("events", _named(EVENT_COLUMNS, meters, time=ColumnKind.INSTANT), site_facts(plant, from_, to))


def sums_table(
    plant: PlantView, by: str, groups: Sequence[str], from_: datetime, to: datetime, *, carbon: bool
) -> TableSchema:
    """Return the table of sums: one row for each period and group, the two columns of carbon only when it is wanted."""
    columns = (
        Column("period", ColumnKind.TEXT, title="The period in the time of the site"),
        Column("from", ColumnKind.SECOND, title="Its begin"),
        Column("to", ColumnKind.SECOND, title="Its end"),
        Column(by, ColumnKind.KEY, title="What is added up", choices=tuple(groups)),
        *(_FIGURES if carbon else _FIGURES[:-2]),
    )
    return TableSchema("sums", columns, site_facts(plant, from_, to))


def _named(names: Sequence[str], meters: Sequence[str], *, time: ColumnKind) -> tuple[Column, ...]:
    known = {
        "time": Column("time", time, title="Instant in UTC"),
        "meter": Column("meter", ColumnKind.KEY, title="Key of the meter", choices=tuple(meters)),
        **_COLUMNS,
    }
    return tuple(known[name] for name in names)
