"""A plant as a person reads it in a terminal: its tree, its alarms, its carbon factors, its tariffs, and totals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.tree import Tree

from emsd.plant.draft import AnyAlarm
from emsd.plant.loader import LoadedPlant
from emsd.plant.modbus_connections import ModbusConnection
from emsd.plant.models import Asset, Meter, Plant, Priority, ThresholdAlarm
from emsd.plant.mqtt_connection import BrokerConnection
from emsd.plant.tariff_prices import tariff_spans
from emsd.plant.tree import children
from emsd.plant.virtual_meters import VirtualMeter
from emsd.quantities import quantity

__all__ = ["plant_view"]

_COLOUR = {Priority.HIGH: "red", Priority.MEDIUM: "yellow", Priority.LOW: "cyan"}


def plant_view(loaded: LoadedPlant, further: Iterable[RenderableType] = (), *, warnings: int) -> Group:
    """Return the site's tree, tables of alarms, carbon factors and tariffs, what is `further`, and totals."""
    return Group(
        _site(loaded), *_alarms(loaded), *_carbon(loaded), *_tariffs(loaded), *further, _totals(loaded, warnings)
    )


def _site(loaded: LoadedPlant) -> Tree:
    site = loaded.plant.site
    facts = [site.time_zone, f"carbon region {site.carbon_region}"]
    if site.contract_demand_kw is not None:
        facts.append(f"contract demand {site.contract_demand_kw:,.0f} kW")
    tree = Tree(f"[bold]{escape(site.name)}[/bold] [dim]site {site.number}, {escape(', '.join(facts))}[/dim]")
    for key in children(None, loaded.area_parents):
        _area(tree, loaded, key)
    return tree


def _area(above: Tree, loaded: LoadedPlant, key: str) -> None:
    area = loaded.areas_by_key[key]
    stage = loaded.stage_of_area(key)
    facts = [key, *([f"stage {stage}"] if stage else []), *_measure(area.floor_area_m2, "m2")]
    branch = above.add(f"[bold]{escape(area.name)}[/bold] [dim]{escape(', '.join(facts))}[/dim]")
    for asset in loaded.plant.assets:
        if asset.area == key:
            _asset(branch, loaded, asset)
    for below in children(key, loaded.area_parents):
        _area(branch, loaded, below)


def _asset(above: Tree, loaded: LoadedPlant, asset: Asset) -> None:
    facts = [asset.key, asset.kind, *_measure(asset.rated_power_kw, "kW")]
    branch = above.add(f"{escape(asset.name)} [dim]{escape(', '.join(facts))}[/dim]")
    for meter in loaded.meters_of_asset(asset.key):
        branch.add(f"[green]{escape(meter.key)}[/green] {escape(_meter(loaded, meter))}")
    for virtual in loaded.plant.virtual_meters:
        if virtual.asset == asset.key:
            branch.add(f"[magenta]{escape(virtual.key)}[/magenta] {escape(_virtual(virtual))}")


def _meter(loaded: LoadedPlant, meter: Meter) -> str:
    connection = loaded.connections_by_key[meter.connection]
    endpoint, rate = meter.connection, f"every {meter.poll_interval_s:g} s"
    if isinstance(connection, ModbusConnection):
        endpoint += f" ({connection.address}) unit {meter.unit_id}"
    elif isinstance(connection, BrokerConnection):
        endpoint += f" ({connection.host}:{connection.port}) topic {meter.topic}"
        rate = f"expected {rate}"
    below = f", below {meter.parent}" if meter.parent else ""
    return f"{meter.profile} on {endpoint}, {rate}{below}"


def _virtual(meter: VirtualMeter) -> str:
    below = f", below {meter.parent}" if meter.parent else ""
    known = "unknown while one is missing" if meter.missing == "unknown" else "partial while one is missing"
    counted = "counts in sums" if meter.counts else "not in sums"
    return f"= {' '.join(meter.expression.split())}, {known}, {counted}{below}"


def _measure(value: float | None, unit: str) -> list[str]:
    return [] if value is None else [f"{value:,g} {unit}"]


def _alarms(loaded: LoadedPlant) -> Iterator[Padding]:
    if not loaded.plant.alarms:
        return
    table = Table("Alarm", "Raised when", "Meters", "Priority", "Notifies", title="Alarms", title_justify="left")
    for alarm in loaded.plant.alarms:
        meters = [meter.key for meter in loaded.meters_of_alarm(alarm)]
        watched = ", ".join(meters) if len(meters) <= 2 else f"{len(meters)} meters"
        priority = f"[{_COLOUR[alarm.priority]}]{alarm.priority}[/]"
        table.add_row(escape(alarm.key), escape(_condition(alarm)), watched, priority, ", ".join(alarm.notify) or "-")
    yield Padding(table, (1, 0, 0, 0), expand=False)


def _condition(alarm: AnyAlarm) -> str:
    if not isinstance(alarm, ThresholdAlarm):
        return f"{alarm.after_polls} polls missing"
    unit = quantity(alarm.quantity).unit
    limits = [
        f"{word} {limit:g} {unit}"
        for word, limit in (("above", alarm.above), ("below", alarm.below))
        if limit is not None
    ]
    return f"{alarm.quantity} {' or '.join(limits) or 'outside its band'} for {alarm.on_delay_s:g} s"


def _carbon(loaded: LoadedPlant) -> Iterator[Padding]:
    factors = sorted(loaded.plant.carbon_factors, key=lambda each: (each.region, each.method, each.valid_from))
    if not factors:
        return
    table = Table("Region", "Method", "From", "Until", title="Carbon factors", title_justify="left")
    table.add_column("kgCO2/kWh", justify="right")
    table.add_column("Source")
    for each in factors:
        until = str(each.valid_to) if each.valid_to else "open"
        row = (each.region, each.method, str(each.valid_from), until, f"{each.kg_per_kwh:g}", each.source)
        table.add_row(*(escape(cell) for cell in row))
    yield Padding(table, (1, 0, 0, 0), expand=False)


def _tariffs(loaded: LoadedPlant) -> Iterator[Padding]:
    spans = tariff_spans(loaded.plant.tariffs)
    if not spans:
        return
    table = Table("Tariff", "Name", "From", "Until", "Currency", "Periods", title="Tariffs", title_justify="left")
    for span in spans:
        tariff = span.tariff
        periods = dict.fromkeys(period.name for rate in tariff.rates for period in rate.periods)
        until = "open" if span.end is None else str(span.end)
        row = (tariff.key, tariff.name, str(span.first), until, tariff.currency, ", ".join(periods))
        table.add_row(*(escape(cell) for cell in row))
    yield Padding(table, (1, 0, 0, 0), expand=False)


def _totals(loaded: LoadedPlant, warnings: int) -> Padding:
    plant = loaded.plant
    polled = [m for m in plant.meters if not isinstance(loaded.connections_by_key[m.connection], BrokerConnection)]
    polls_per_s = sum(1 / meter.poll_interval_s for meter in polled)
    energy = sum(loaded.measures_energy(meter) for meter in plant.meters)
    line = (
        f"{_counted(plant.areas, 'area')}, {_counted(plant.assets, 'asset')}, {_counted(plant.meters, 'meter')} "
        f"({energy} of energy{_virtual_count(plant)}) on {_counted(plant.connections, 'connection')}, "
        f"{polls_per_s:.1f} polls/s, "
        f"{_counted(plant.alarms, 'alarm')}, {warnings} warning{'' if warnings == 1 else 's'}"
    )
    return Padding(line, (1, 0, 0, 0), expand=False)


def _virtual_count(plant: Plant) -> str:
    return f", {len(plant.virtual_meters)} virtual beside them" if plant.virtual_meters else ""


def _counted(entries: Sequence[object], what: str) -> str:
    return f"{len(entries)} {what}" + ("" if len(entries) == 1 else "s")
