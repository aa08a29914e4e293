"""The display factory: its description is clean, and its meters and loads are those of its page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest

from emsd.plant.connections import ForeignConnection
from emsd.plant.expression import factors_of
from emsd.plant.loader import LoadedPlant, load_plant
from emsd.plant.modbus_connections import ModbusTcpConnection
from emsd.plant.models import Asset, AssetKind
from emsd.plant.mqtt_connection import BrokerConnection
from emsd.plant.tree import ancestors

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "factory.md"

HOURS_PER_YEAR = 8760
SHARES_PERCENT = {
    "use-process-tools": 42,
    "use-compressed-air": 15,
    "use-clean-air": 15,
    "use-chilled-water": 18,
    "use-water": 6,
    "use-lighting-and-other": 4,
}


class Row(NamedTuple):
    """A row of the page's table of end uses."""

    end_use: str
    pattern: str
    kind: str
    rated_kw: float
    load_factor: float
    mean_kw: float
    share_percent: float


@pytest.fixture(scope="module")
def factory() -> LoadedPlant:
    return load_plant(ROOT / "config" / "factory.yaml", environ={})


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    found = []
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if line.startswith("| use-"):
            end_use, pattern, kind, *numbers = cells
            found.append(Row(end_use, pattern, kind, *(float(number.replace(",", "")) for number in numbers)))
    return found


def parents(factory: LoadedPlant) -> dict[str, str | None]:
    return {meter.key: meter.parent for meter in factory.plant.meters if factory.measures_energy(meter)}


def consumers(factory: LoadedPlant) -> dict[str, Asset]:
    """Meter to asset of everything that uses energy: energy meters with none below them, generators left out."""
    above = parents(factory)
    leaves = {key: factory.assets_by_key[factory.meters_by_key[key].asset] for key in above.keys() - above.values()}
    return {key: asset for key, asset in leaves.items() if asset.kind is not AssetKind.PV_INVERTER}


def drawn(page: str) -> dict[str, tuple[str, set[str]]]:
    """Feeder to the incomer and the assets that the diagram shows on either side of it; a-1..3 is a-1, a-2 and a-3."""
    found = {}
    for section, feeder, below in re.findall(r"s(\d) --> \w+\[([\w-]+)\] --> \w+\[(.+)\]", page):
        assets: set[str] = set()
        for name in below.removesuffix(", 31.7 MWp").split(", "):
            first, _, last = name.partition("..")
            stem, _, number = first.rpartition("-")
            assets |= {f"{stem}-{each}" for each in range(int(number), int(last) + 1)} if last else {name}
        found[feeder] = (f"incomer-{section}", assets)
    return found


def end_use_of(factory: LoadedPlant) -> Mapping[str, list[str]]:
    """Consumer's meter to the end uses that count it."""
    above = parents(factory)
    counted: dict[str, list[str]] = {key: [] for key in consumers(factory)}
    for virtual in factory.plant.virtual_meters:
        factors = factors_of(virtual.expression)
        assert set(factors.values()) == {1.0}
        for key in counted if virtual.key != "grid" else ():
            counted[key] += [virtual.key] * len(factors.keys() & {key, *ancestors(key, above)})
    return counted


def test_the_description_is_clean_and_of_the_size_it_says(factory: LoadedPlant) -> None:
    assert factory.warnings == ()
    energy = len(parents(factory))
    assert (len(factory.plant.meters), energy) == (119, 82)
    assert f"119 meters ({energy} of energy)" in PAGE.read_text()
    used = {meter.profile for meter in factory.plant.meters}
    assert len(used) >= 20, "many makes of devices, as in a real plant"


def test_all_energy_meters_but_the_incomers_hang_below_an_incomer(factory: LoadedPlant) -> None:
    above = parents(factory)
    assert [key for key, parent in above.items() if parent is None] == ["incomer-1", "incomer-2"]
    assert {ancestors(key, above)[-1] for key, parent in above.items() if parent} == {"incomer-1", "incomer-2"}
    grid = next(each for each in factory.plant.virtual_meters if each.key == "grid")
    assert factors_of(grid.expression) == {"incomer-1": 1.0, "incomer-2": 1.0}
    buses = {factory.assets_by_key[factory.meters_by_key[bus].asset].kind for bus in above.values() if bus}
    assert buses == {AssetKind.INCOMER, AssetKind.FEEDER}, "a machine's meter is no bus"
    assert all(meter.parent is None for meter in factory.plant.meters if not factory.measures_energy(meter))


def test_the_single_line_diagram_is_that_of_the_meters(factory: LoadedPlant) -> None:
    above = parents(factory)
    feeders = [key for key, parent in above.items() if parent in {"incomer-1", "incomer-2"}]
    assert drawn(PAGE.read_text()) == {
        feeder: (above[feeder], {factory.meters_by_key[key].asset for key, parent in above.items() if parent == feeder})
        for feeder in feeders
    }


def test_no_bus_carries_more_than_it_is_rated_for(factory: LoadedPlant, rows: list[Row]) -> None:
    above, load_factor = parents(factory), {}
    for key, asset in consumers(factory).items():
        (row,) = [row for row in rows if fnmatchcase(asset.key, row.pattern)]
        load_factor[key] = row.load_factor
    for bus in {parent for parent in above.values() if parent} - {"pv-bus"}:
        below = [key for key in load_factor if bus in ancestors(key, above)]
        mean_kw = sum((consumers(factory)[key].rated_power_kw or 0) * load_factor[key] for key in below)
        assert 0.3 < mean_kw / (factory.rated_power_kw(factory.meters_by_key[bus]) or 0) < 0.9, bus


def test_each_consumer_counts_in_one_end_use_and_the_page_names_it(factory: LoadedPlant, rows: list[Row]) -> None:
    uses = end_use_of(factory)
    for key, asset in consumers(factory).items():
        named = [(row.end_use, row.kind) for row in rows if fnmatchcase(asset.key, row.pattern)]
        assert named == [(use, asset.kind) for use in uses[key]], key
        assert len(named) == 1, key


def test_the_rated_powers_of_the_page_are_those_of_the_plant(factory: LoadedPlant, rows: list[Row]) -> None:
    assets = consumers(factory).values()
    for row in rows:
        rated_kw = sum(asset.rated_power_kw or 0 for asset in assets if fnmatchcase(asset.key, row.pattern))
        assert rated_kw == row.rated_kw, row.pattern
    for virtual, rated_kw in ((use, sum(row.rated_kw for row in rows if row.end_use == use)) for use in SHARES_PERCENT):
        assert factory.assets_by_key[virtual].rated_power_kw == rated_kw


def test_the_shares_of_the_end_uses_and_the_years_energy_come_out(rows: list[Row]) -> None:
    total_kw = sum(row.rated_kw * row.load_factor for row in rows)
    assert total_kw * HOURS_PER_YEAR / 1e6 == pytest.approx(800, rel=0.005)
    for use, expected in SHARES_PERCENT.items():
        mean_kw = sum(row.rated_kw * row.load_factor for row in rows if row.end_use == use)
        assert 100 * mean_kw / total_kw == pytest.approx(expected, abs=0.1), use
    for row in rows:
        assert row.rated_kw * row.load_factor == pytest.approx(row.mean_kw, abs=0.51)
        assert 100 * row.mean_kw / total_kw == pytest.approx(row.share_percent, abs=0.051)
    assert f"| {sum(row.rated_kw for row in rows):,.0f} | | {total_kw:,.0f} | 100.0 |" in PAGE.read_text()


def test_the_arrays_add_up_to_the_case_study_and_never_feed_the_grid(factory: LoadedPlant, rows: list[Row]) -> None:
    above = parents(factory)
    arrays = [key for key, parent in above.items() if parent == "pv-bus"]
    assets = [factory.assets_by_key[factory.meters_by_key[key].asset] for key in arrays]
    assert {asset.kind for asset in assets} == {AssetKind.PV_INVERTER}
    assert len(assets) == sum(asset.kind is AssetKind.PV_INVERTER for asset in factory.plant.assets)
    assert sum(asset.kpi.peak_power_kwp or 0 for asset in assets if asset.kpi) == 31_700
    ac_kw = sum(asset.rated_power_kw or 0 for asset in assets)
    assert ac_kw == factory.assets_by_key["pv-bus"].rated_power_kw
    assert all(
        1.1 < (asset.kpi.peak_power_kwp or 0) / (asset.rated_power_kw or 1) < 1.3 for asset in assets if asset.kpi
    )
    beside = [asset for key, asset in consumers(factory).items() if above["pv-bus"] in ancestors(key, above)]
    load_factor = {row.pattern: row.load_factor for row in rows}
    mean_kw = sum(
        (asset.rated_power_kw or 0) * factor
        for asset in beside
        for pattern, factor in load_factor.items()
        if fnmatchcase(asset.key, pattern)
    )
    assert mean_kw > 1.5 * ac_kw, "the section of the arrays uses all that they give"


def test_devices_are_simulated_on_loopback_ports(factory: LoadedPlant) -> None:
    ports = []
    for connection in factory.plant.connections:
        assert not isinstance(connection, ForeignConnection)
        assert isinstance(connection, ModbusTcpConnection | BrokerConnection)
        assert connection.host == "127.0.0.1"
        if isinstance(connection, ModbusTcpConnection):
            ports.append(connection.port)
    assert len(set(ports)) == len(ports) == 26
    assert (min(ports), max(ports)) == (15100, 15130)
    taken = set(re.findall(r"port: (\d+)", (ROOT / "config" / "plant.example.yaml").read_text()))
    assert taken.isdisjoint(map(str, ports)), "both plants can be simulated on one machine"
