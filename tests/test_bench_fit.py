"""The fit finds a law that it is given, with intervals that hold as often as they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.bench import fit_cost, fit_linear

BATCHES = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 512.0])


@settings(deadline=None)
@given(st.floats(1e-6, 1e2), st.floats(1e-6, 1e2))
def test_a_law_without_noise_is_found(a, b):
    fit = fit_cost(BATCHES, a + b * BATCHES)
    assert fit.coefficients["iteration"] == pytest.approx(a, rel=1e-3, abs=1e-9 * b)
    assert fit.coefficients["sample"] == pytest.approx(b, rel=1e-3, abs=1e-9 * a)
    assert np.abs(fit.residuals).max() < 1e-6
    assert fit.predict(iteration=5000, sample=5000 * 50) == pytest.approx(5000 * (a + 50 * b), rel=1e-6)


def test_intervals_hold_as_often_as_they_say():
    generator, held = np.random.default_rng(0), np.zeros(3)
    truth = np.array([3e-3, 2e-4])
    for _ in range(600):
        seconds = (truth[0] + truth[1] * BATCHES) * (1 + 0.05 * generator.standard_normal(len(BATCHES)))
        fit = fit_cost(BATCHES, seconds, confidence=0.9)
        inside = [low < t < high for t, (low, high) in zip(truth, fit.intervals.values(), strict=True)]
        low, high = fit.predict_interval(iteration=1, sample=50)
        held += [*inside, low < truth[0] + truth[1] * 50 < high]
    assert np.all(np.abs(held / 600 - 0.9) < 0.04), held / 600


def test_several_columns_are_told_apart_and_a_bend_shows_in_the_residuals():
    draw = np.random.default_rng(1).uniform
    columns = {"iteration": np.ones(30), "FLOP": draw(1e9, 1e12, 30), "byte": draw(1e6, 1e10, 30)}
    truth = {"iteration": 1e-3, "FLOP": 1e-11, "byte": 5e-11}
    seconds = sum(truth[name] * column for name, column in columns.items())
    fit = fit_linear(columns, seconds)
    assert fit.coefficients == pytest.approx(truth, rel=1e-6)
    assert np.allclose(fit.predict(**columns), seconds)
    bent = np.maximum(5e-3, 1e-4 * BATCHES)  # flat until the device is full
    fit = fit_cost(BATCHES, bent)
    assert np.abs(fit.residuals).max() > 0.1 and fit.residuals == pytest.approx(bent / fit.fitted - 1)


def test_intervals_are_those_of_students_t_and_balance_is_where_both_cost_the_same():
    fit = fit_cost([1, 2, 4, 8], [3.1, 3.9, 6.1, 9.8])
    assert fit.quantile == pytest.approx(4.303, abs=1e-3)  # two degrees of freedom, as in the tables
    assert fit_cost(BATCHES, 6e-3 + 2e-4 * BATCHES).balance == pytest.approx(30)
    low, high = fit.intervals["sample"]
    assert (high - low) / 2 == pytest.approx(fit.quantile * fit.covariance[1, 1] ** 0.5)


REFUSED = [
    (lambda: fit_cost([1, 2], [1.0, 2.0]), "points"),
    (lambda: fit_cost([4, 4, 4], [1.0, 2.0, 3.0]), "cannot be told apart"),
    (lambda: fit_cost([1, 2, 4], [1.0, 0.0, 3.0]), "above 0"),
    (lambda: fit_cost([1, 2, 4], [1.0, float("nan"), 3.0]), "finite"),
    (lambda: fit_cost([1, 2, 4], [1.0, 2.0]), "equally long"),
    (lambda: fit_cost([1, 2, 3], [1.0, 2.0, 3.0], confidence=95), "confidence"),
    (lambda: fit_cost([1, 2, 4], [3.0, 4.0, 6.0]).predict(batch=3), "iteration, sample"),
]


@pytest.mark.parametrize(("call", "named"), REFUSED)
def test_what_cannot_be_fitted_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()
