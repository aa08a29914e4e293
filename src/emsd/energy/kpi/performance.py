"""Energy performance against a baseline: what would have been used, and what was saved (ISO 50006, ASHRAE 14)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from emsd.energy.series import FloatArray

__all__ = ["Baseline", "Savings", "fit_baseline", "savings"]

_MONTHLY_CV_PERCENT: Final = 15.0
_MONTHLY_BIAS_PERCENT: Final = 5.0
_HOURLY_CV_PERCENT: Final = 30.0
_HOURLY_BIAS_PERCENT: Final = 10.0
"""Limits for monthly and for hourly models (ASHRAE Guideline 14-2014, 4.3.2.2)."""


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """A linear model of energy: intercept plus coefficients times drivers (production, degree days, wet bulb).

    intercept_kwh           energy of a period in which every driver is 0 [kWh]
    coefficients            float64[d], [kWh] for each unit of a driver
    cv_rmse_percent         sqrt(sum e^2 / (n - p)) / mean [%], p parameters
    bias_percent            sum e / ((n - p) mean) [%], zero for the periods of the fit but for rounding
    r_squared               share of the variance that the drivers explain, 0..1
    """

    intercept_kwh: float
    coefficients: FloatArray
    cv_rmse_percent: float
    bias_percent: float
    r_squared: float
    periods: int

    @property
    def is_fit_for_months(self) -> bool:
        """Whether it keeps ASHRAE 14's limits for monthly models: CV(RMSE) 15 %, bias +-5 %."""
        return self.cv_rmse_percent <= _MONTHLY_CV_PERCENT and abs(self.bias_percent) <= _MONTHLY_BIAS_PERCENT

    @property
    def is_fit_for_hours(self) -> bool:
        """Whether it keeps ASHRAE 14's limits for hourly models: CV(RMSE) 30 %, bias +-10 %."""
        return self.cv_rmse_percent <= _HOURLY_CV_PERCENT and abs(self.bias_percent) <= _HOURLY_BIAS_PERCENT

    def expected_kwh(self, drivers: NDArray[np.float64]) -> FloatArray:
        """Return the energy that the model expects [kWh], float64[n]; drivers float64[n] or [n, d]."""
        return self.intercept_kwh + _columns(drivers) @ self.coefficients


@dataclass(frozen=True, slots=True, eq=False)
class Savings:
    """What was saved against a baseline.

    saved_kwh  float64[n], expected less used [kWh], NaN where either is unknown
    cusum_kwh  float64[n], running total of what is known: a bend shows when something changed
    """

    saved_kwh: FloatArray
    cusum_kwh: FloatArray

    @property
    def total_kwh(self) -> float:
        """Known savings of all periods [kWh]."""
        return float(np.nansum(self.saved_kwh))


def fit_baseline(energy_kwh: FloatArray, drivers: NDArray[np.float64]) -> Baseline:
    """Return the least-squares model of energy, float64[n], by drivers, float64[n] or [n, d].

    Periods of which something is unknown (NaN) are left out. Raises ValueError when fewer periods are left than
    parameters plus one, the drivers do not vary independently of each other, or no energy was used.
    """
    columns = _columns(drivers)
    known = np.isfinite(energy_kwh) & np.isfinite(columns).all(axis=1)
    used, design = energy_kwh[known], np.column_stack([np.ones(int(known.sum())), columns[known]])
    n, p = design.shape
    if n <= p:
        raise ValueError(f"{n} known periods are too few for {p} parameters; use a longer baseline")
    if np.linalg.matrix_rank(design) < p:
        raise ValueError("the drivers do not vary independently of each other; leave one of them out")
    parameters, *_ = np.linalg.lstsq(design, used, rcond=None)
    error = used - design @ parameters
    mean = float(np.mean(used))
    if mean <= 0:
        raise ValueError(f"the mean energy of the baseline is {mean:g} kWh; take periods in which some was used")
    spread = float(np.sum((used - mean) ** 2))
    return Baseline(
        intercept_kwh=float(parameters[0]),
        coefficients=parameters[1:].astype(np.float64, copy=False),
        cv_rmse_percent=100 * math.sqrt(float(np.sum(error**2)) / (n - p)) / mean,
        bias_percent=100 * float(np.sum(error)) / ((n - p) * mean),
        r_squared=1 - float(np.sum(error**2)) / spread if spread > 0 else 0.0,
        periods=n,
    )


def savings(baseline: Baseline, energy_kwh: FloatArray, drivers: NDArray[np.float64]) -> Savings:
    """Return savings and CUSUM of the reported periods: sum(expected - used) (ISO 50015, forecasting)."""
    saved = baseline.expected_kwh(drivers) - energy_kwh
    return Savings(saved, np.cumsum(np.nan_to_num(saved)))


def _columns(drivers: NDArray[np.float64]) -> FloatArray:
    matrix = np.asarray(drivers, dtype=np.float64)
    return matrix[:, np.newaxis] if matrix.ndim == 1 else matrix
