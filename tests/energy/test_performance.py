"""Baselines of energy performance against published numbers."""

from __future__ import annotations

import numpy as np
import pytest

from emsd.energy.kpi.performance import Baseline, fit_baseline, savings

X = np.arange(100.0, 1300.0, 100.0)
Y = 500 + 3 * X + np.array([5, -5, 8, -8, 3, -3, 6, -6, 2, -2, 4, -4])


def test_the_regression_and_its_cv_rmse_after_ashrae_guideline_14() -> None:
    baseline = fit_baseline(Y, X)
    assert baseline.intercept_kwh == pytest.approx(501.27273, abs=5e-6)
    assert baseline.coefficients[0] == pytest.approx(2.998042, abs=5e-7)
    # sqrt(sum e^2 / (n - p)) / mean, ASHRAE Guideline 14-2014.
    assert baseline.cv_rmse_percent == pytest.approx(0.22450, abs=5e-6)
    assert baseline.bias_percent == pytest.approx(0.0, abs=1e-9)
    assert baseline.r_squared > 0.9999
    assert baseline.is_fit_for_months


def test_savings_add_up_and_a_bend_of_the_cusum_shows_when_something_changed() -> None:
    baseline = fit_baseline(500 + 3 * X, X)
    used = 500 + 3 * X
    used[6:] -= 100
    used[3] = np.nan
    found = savings(baseline, used, X)
    assert found.total_kwh == pytest.approx(600.0)
    np.testing.assert_allclose(found.cusum_kwh, [0, 0, 0, 0, 0, 0, 100, 200, 300, 400, 500, 600], atol=1e-9)
    assert np.isnan(found.saved_kwh[3])


def test_several_drivers_and_unknown_periods() -> None:
    drivers = np.column_stack([X, np.tile([1.0, 4.0, 2.0], 4)])
    energy = 50 + 2 * drivers[:, 0] + 7 * drivers[:, 1]
    energy[5] = np.nan
    baseline = fit_baseline(energy, drivers)
    assert baseline.periods == 11
    np.testing.assert_allclose(baseline.coefficients, [2, 7], rtol=1e-9)
    np.testing.assert_allclose(baseline.expected_kwh(np.array([[100.0, 1.0]])), [257.0])


def test_limits_of_cv_rmse_and_bias_after_ashrae_guideline_14() -> None:
    # ASHRAE Guideline 14-2014, 4.3.2.2: monthly 15 % and +-5 %, hourly 30 % and +-10 %.
    def model(cv: float, bias: float) -> Baseline:
        return Baseline(0.0, np.array([1.0]), cv, bias, 0.9, 12)

    for cv, bias, months, hours in (
        (15.0, -5.0, True, True),
        (15.1, 0.0, False, True),
        (0.0, -5.1, False, True),
        (30.0, 10.0, False, True),
        (30.1, 0.0, False, False),
        (0.0, -10.1, False, False),
    ):
        fitted = model(cv, bias)
        assert (fitted.is_fit_for_months, fitted.is_fit_for_hours) == (months, hours), (cv, bias)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="mean energy of the baseline is 0 kWh"):
        fit_baseline(np.zeros(12), X)
    with pytest.raises(ValueError, match="too few"):
        fit_baseline(Y[:2], X[:2])
    with pytest.raises(ValueError, match="independently"):
        fit_baseline(Y, np.column_stack([X, 2 * X]))
