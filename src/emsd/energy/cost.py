"""What energy costs: intervals times the price of their time, added up by time-of-use period and by window.

Nothing is kept: cost is computed anew from the interval tables and the prices whenever somebody asks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emsd.energy.series import BoolArray, FloatArray, TimeArray
from emsd.energy.tariff import stretch_places

__all__ = ["EnergyCost", "PeriodCost", "PriceCurve", "PricedEnergy", "cut_buckets", "energy_costs"]


@dataclass(frozen=True, slots=True, eq=False)
class PriceCurve:
    """What a kilowatt-hour costs in n successive stretches of time; without a stretch there is no price.

    from_us, to_us      int64[n] [us], ascending
    period              int64[n], places in `names`
    price_per_kwh       float64[n] [currency/kWh] of energy drawn, NaN where it is not known
    levy_per_kwh        float64[n] [currency/kWh] on top of it, which no power factor changes
    feed_in_per_kwh     float64[n] [currency/kWh] of energy given to the grid, NaN where nothing is agreed
    names               what the periods are called
    """

    from_us: TimeArray
    to_us: TimeArray
    period: NDArray[np.int64]
    price_per_kwh: FloatArray
    levy_per_kwh: FloatArray
    feed_in_per_kwh: FloatArray
    names: tuple[str, ...]

    def places(self, time_us: TimeArray) -> NDArray[np.int64]:
        """Return for each instant [us] the place of its stretch, -1 where there is none; int64[k]."""
        return stretch_places(self.from_us, self.to_us, time_us)


@dataclass(frozen=True, slots=True, eq=False)
class PricedEnergy:
    """Energy in k buckets, in ascending order, each small enough to have one price.

    begin_us, width_us          int64[k] [us]
    drawn_kwh, given_kwh        float64[k] [kWh]; NaN where nothing is known
    estimated_kwh               float64[k] [kWh], the part of both that is estimated
    coverage                    float64[k], 0..1
    """

    begin_us: TimeArray
    width_us: TimeArray
    drawn_kwh: FloatArray
    given_kwh: FloatArray
    estimated_kwh: FloatArray
    coverage: FloatArray


@dataclass(frozen=True, slots=True)
class PeriodCost:
    """Energy drawn in one time-of-use period [kWh], its cost, and their ratio [currency/kWh]."""

    period: str
    energy_kwh: float
    cost: float

    @property
    def price_per_kwh(self) -> float | None:
        """Mean price, weighted by energy; None when no energy was drawn."""
        return self.cost / self.energy_kwh if self.energy_kwh else None


@dataclass(frozen=True, slots=True)
class EnergyCost:
    """Cost of the energy of one window; None is unknown, never 0.

    periods             by time-of-use period, those with known energy and price only
    drawn_kwh           energy drawn, with a price or without [kWh]
    given_kwh           energy given to the grid [kWh]
    cost                of the energy drawn, as far as both energy and price are known
    levies              of the same energy
    feed_in_credit      of the energy given, as far as both are known; None where nothing was given or is agreed
    priced_share        share 0..1 of the energy drawn that had a price; None without energy
    coverage            share 0..1 of the window's time that was measured
    estimated_share     share 0..1 of all energy that is estimated; None without energy
    """

    periods: tuple[PeriodCost, ...]
    drawn_kwh: float | None
    given_kwh: float | None
    cost: float | None
    levies: float | None
    feed_in_credit: float | None
    priced_share: float | None
    coverage: float
    estimated_share: float | None


def cut_buckets(curve: PriceCurve, edges_us: TimeArray) -> BoolArray:
    """Return which of the k buckets between k + 1 edges [us] have a change of price inside, bool[k]."""
    changes_us = np.unique(np.concatenate((curve.from_us, curve.to_us)))
    inside = np.searchsorted(changes_us, edges_us[1:], side="left") - np.searchsorted(
        changes_us, edges_us[:-1], side="right"
    )
    return np.asarray(inside > 0)


def energy_costs(energy: PricedEnergy, curve: PriceCurve, window_edges_us: TimeArray) -> list[EnergyCost]:
    """Return the cost of the energy in each of the m windows between m + 1 ascending edges [us].

    A bucket belongs to the window in which it begins, and goes by the price at its begin.
    """
    windows = window_edges_us.size - 1
    window = np.searchsorted(window_edges_us, energy.begin_us, side="right") - 1
    inside = (window >= 0) & (window < windows)
    window = np.where(inside, window, 0)
    place = curve.places(energy.begin_us)
    price, levy, feed_in = (
        _prices(column, place) for column in (curve.price_per_kwh, curve.levy_per_kwh, curve.feed_in_per_kwh)
    )
    drawn, given = energy.drawn_kwh, energy.given_kwh
    priced = inside & np.isfinite(price) & np.isfinite(drawn)
    paid = inside & np.isfinite(feed_in) & np.isfinite(given)
    period = np.where(place >= 0, curve.period[np.maximum(place, 0)], 0) if curve.period.size else place * 0

    def total(weights: FloatArray, chosen: BoolArray) -> FloatArray:
        return np.bincount(window[chosen], weights=weights[chosen], minlength=windows).astype(np.float64)

    def by_period(weights: FloatArray) -> FloatArray:
        names = len(curve.names)
        flat = np.bincount(window[priced] * names + period[priced], weights=weights[priced], minlength=windows * names)
        return flat.reshape(windows, names).astype(np.float64)

    known_drawn, known_given = inside & np.isfinite(drawn), inside & np.isfinite(given)
    sums = _Sums(
        drawn_kwh=total(drawn, known_drawn),
        given_kwh=total(given, known_given),
        drawn_count=np.bincount(window[known_drawn], minlength=windows),
        given_count=np.bincount(window[known_given], minlength=windows),
        priced_count=np.bincount(window[priced], minlength=windows),
        paid_count=np.bincount(window[paid], minlength=windows),
        priced_kwh=total(drawn, priced),
        cost=total(drawn * price, priced),
        levies=total(drawn * levy, priced),
        credit=total(given * feed_in, paid),
        estimated_kwh=total(energy.estimated_kwh, inside),
        covered_us=total(energy.coverage * energy.width_us, inside),
        period_kwh=by_period(drawn),
        period_cost=by_period(drawn * price),
    )
    lengths_us = window_edges_us[1:] - window_edges_us[:-1]
    return [_window_cost(sums, number, int(lengths_us[number]), curve.names) for number in range(windows)]


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Sums of m windows, float64[m] each; those by period float64[m, names]."""

    drawn_kwh: FloatArray
    given_kwh: FloatArray
    drawn_count: NDArray[np.intp]
    given_count: NDArray[np.intp]
    priced_count: NDArray[np.intp]
    paid_count: NDArray[np.intp]
    priced_kwh: FloatArray
    cost: FloatArray
    levies: FloatArray
    credit: FloatArray
    estimated_kwh: FloatArray
    covered_us: FloatArray
    period_kwh: FloatArray
    period_cost: FloatArray


def _prices(column: FloatArray, place: NDArray[np.int64]) -> FloatArray:
    if not column.size:
        return np.full(place.size, np.nan)
    return np.where(place >= 0, column[np.maximum(place, 0)], np.nan)


def _window_cost(sums: _Sums, number: int, length_us: int, names: tuple[str, ...]) -> EnergyCost:
    drawn_kwh = float(sums.drawn_kwh[number]) if sums.drawn_count[number] else None
    given_kwh = float(sums.given_kwh[number]) if sums.given_count[number] else None
    known = sums.priced_count[number] > 0
    everything_kwh = (drawn_kwh or 0.0) + (given_kwh or 0.0)
    return EnergyCost(
        periods=tuple(
            PeriodCost(name, float(sums.period_kwh[number, place]), float(sums.period_cost[number, place]))
            for place, name in enumerate(names)
            if sums.period_kwh[number, place]
        ),
        drawn_kwh=drawn_kwh,
        given_kwh=given_kwh,
        cost=float(sums.cost[number]) if known else None,
        levies=float(sums.levies[number]) if known else None,
        feed_in_credit=float(sums.credit[number]) if sums.paid_count[number] else None,
        priced_share=float(sums.priced_kwh[number]) / drawn_kwh if drawn_kwh else None,
        coverage=float(sums.covered_us[number]) / length_us,
        estimated_share=float(sums.estimated_kwh[number]) / everything_kwh if everything_kwh else None,
    )
