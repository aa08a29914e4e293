"""Pictures of a simulated plant for its documentation; `python -m bench.pictures config/factory.yaml docs`.

A year by weeks, a summer day and a winter day: power by end use, stacked, what photovoltaics make, and the wet bulb
that chillers and make-up air follow. End uses are the plant's virtual meters whose key begins with `use-`. It also
prints the totals of the year, and by how much power fails to add up at the worst bus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from bench.stacked_areas import Band, Picture, as_svg
from emsd.plant.expression import factors_of
from emsd.plant.loader import LoadedPlant, load_plant
from emsd.readings import instant_us
from simulator import SimulatedPlant
from simulator.balance import bus_residuals
from simulator.scopes import meters_of_site

FloatArray = NDArray[np.float64]

__all__ = ["PicturedPlant", "draw_day", "draw_year"]

_COLOURS: Final = ("#4e79a7", "#76b7b2", "#a0cbe8", "#f28e2b", "#59a14f", "#b07aa1", "#9c755f", "#ff9da7")
_REST, _PV, _WET_BULB = "#bab0ac", "#ffd92f", "#111111"
_WET_BULB_ENDS_C: Final = (-10.0, 30.0)
_DAYS: Final = {"summer": (7, 15), "winter": (1, 15)}
_DAYS_PER_WEEK, _WEEKS = 7, 52
_INSTANTS: Final = 5000


class PicturedPlant:
    """A simulated plant, and what its end uses are made of."""

    def __init__(self, loaded: LoadedPlant, seed: int, anchor: datetime) -> None:
        self.name, self.zone = loaded.plant.site.name, loaded.plant.site.zone
        self.physics = SimulatedPlant(loaded.plant, loaded.profiles, seed, anchor=anchor)
        virtual = [each for each in loaded.plant.virtual_meters if each.key.startswith("use-")]
        self.uses = {each.name: factors_of(each.expression) for each in virtual}
        inverters = [key for key, node in self.physics.topology.nodes.items() if node.generator]
        self.solar = [key for key in inverters if key not in self.physics.topology.children]

    def powers_mw(self, edges_us: NDArray[np.int64]) -> tuple[list[Band], FloatArray, FloatArray]:
        """Return mean power [MW] between instants: by end use, of photovoltaics, and the mean wet bulb [degC]."""
        site = meters_of_site(self.physics)
        keys = list(dict.fromkeys([*site, *self.solar, *(key for each in self.uses.values() for key in each)]))
        hours = np.diff(edges_us) / 3.6e9
        terms = [self.physics.topology.nodes[key].active for key in keys]
        rows = [self.physics.topology.rows["wet_bulb_c"], *(term.row for term in terms)]
        total = self.physics.tables.between(np.array(rows, dtype=np.int64), edges_us)  # one pass over the days
        air, *powers = (total.positive - total.negative) / hours
        mw = {key: power * term.factor / 1000.0 for key, power, term in zip(keys, powers, terms, strict=True)}
        sums = {name: _combined(factors, mw) for name, factors in self.uses.items()}
        solar = -_combined(dict.fromkeys(self.solar, 1.0), mw)
        rest = _combined(dict.fromkeys(site, 1.0), mw) + solar - sum(sums.values())
        bands = [Band(name, colour, sums[name]) for name, colour in zip(sums, _COLOURS, strict=False)]
        return [*bands, Band("Without a meter", _REST, rest)], solar, air


def _combined(factors: Mapping[str, float], series: Mapping[str, FloatArray]) -> FloatArray:
    total: FloatArray = np.sum([factor * series[key] for key, factor in factors.items()], axis=0)
    return total


def draw_year(plant: PicturedPlant, year: int) -> tuple[str, list[str]]:
    """Return 52 weeks from the first of January as a picture, and the totals of the whole year as lines of text."""
    first = datetime(year, 1, 1, tzinfo=plant.zone)
    days = (datetime(year + 1, 1, 1, tzinfo=plant.zone) - first).days
    edges = instant_us(first) + np.arange(days + 1, dtype=np.int64) * 86_400_000_000
    bands, solar, air = plant.powers_mw(edges)
    drawn = [Band(band.name, band.colour, _weekly(band.values)) for band in bands]
    at = (np.arange(_WEEKS, dtype=np.float64) + 0.5) * _DAYS_PER_WEEK
    starts = [datetime(year, month, 1, tzinfo=plant.zone) for month in range(1, 13)]
    ticks = [((start - first).days + 15.0, f"{start:%b}") for start in starts]
    title = f"{plant.name}, {year}: mean power of each week"
    return _picture(title, at, ticks, drawn, _weekly(solar), _weekly(air)), _totals(bands, solar)


def draw_day(plant: PicturedPlant, day: datetime) -> str:
    """Return a day of the site's clock as a picture, in steps of five minutes."""
    edges = instant_us(day) + np.arange(289, dtype=np.int64) * 300_000_000
    bands, solar, air = plant.powers_mw(edges)
    at = (np.arange(288, dtype=np.float64) + 0.5) / 12.0
    ticks = [(float(hour), f"{hour}:00") for hour in range(2, 24, 2)]
    return _picture(f"{plant.name}, {day:%d %B %Y}", at, ticks, bands, solar, air)


def _picture(
    title: str,
    at: FloatArray,
    ticks: Sequence[tuple[float, str]],
    bands: Sequence[Band],
    solar: FloatArray,
    air: FloatArray,
) -> str:
    pv, wet_bulb = Band("Photovoltaics", _PV, solar), Band("Wet bulb (right)", _WET_BULB, air)
    return as_svg(Picture(title, at, ticks, bands, [pv], wet_bulb, "MW", "°C", _WET_BULB_ENDS_C))


def _weekly(values: FloatArray) -> FloatArray:
    whole: FloatArray = values[: _WEEKS * _DAYS_PER_WEEK].reshape(_WEEKS, _DAYS_PER_WEEK).mean(axis=1)
    return whole


def _totals(bands: Sequence[Band], solar: FloatArray) -> list[str]:
    gwh = {band.name: float(band.values.sum()) * 24 / 1000 for band in bands}
    everything = sum(gwh.values())
    lines = [f"{name:<28} {value:7.1f} GWh {100 * value / everything:5.1f} %" for name, value in gwh.items()]
    return [*lines, f"{'All':<28} {everything:7.1f} GWh", f"{'Photovoltaics':<28} {solar.sum() * 24 / 1000:7.1f} GWh"]


def _worst_residual(plant: PicturedPlant, year: int) -> float:
    first = instant_us(datetime(year, 7, 1, tzinfo=UTC))
    times = first + np.random.default_rng(0).integers(0, 3 * 86_400_000_000, _INSTANTS)
    found = bus_residuals(plant.physics, times.astype(np.int64))
    return max(float(np.abs(each).max()) for each in found.values())


def _main(
    plant: Annotated[Path, typer.Argument(help="Description of the plant.")],
    folder: Annotated[Path, typer.Argument(help="Where the pictures are written.")],
    year: Annotated[int, typer.Option(help="Year to draw.")] = 2026,
    seed: Annotated[int, typer.Option(help="Seed of the simulator.")] = 1,
) -> None:
    """Draw a year, a summer day and a winter day of a simulated plant."""
    console = Console(highlight=False)
    simulated = PicturedPlant(load_plant(plant, environ={}), seed, datetime(year, 1, 1, tzinfo=UTC))
    svg, totals = draw_year(simulated, year)
    (folder / f"{plant.stem}-year.svg").write_text(svg, encoding="utf-8")
    for name, (month, day) in _DAYS.items():
        when = datetime(year, month, day, tzinfo=simulated.zone)
        (folder / f"{plant.stem}-{name}-day.svg").write_text(draw_day(simulated, when), encoding="utf-8")
    console.print("\n".join(totals))
    console.print(f"largest residual of any bus at {_INSTANTS} instants: {_worst_residual(simulated, year):.1e}")


if __name__ == "__main__":
    typer.run(_main)
