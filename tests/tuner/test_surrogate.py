"""The surrogate: Gaussian processes against their definition and scikit-learn's."""

import numpy as np
import pytest

from deepseek_learn.tuner.surrogate import GaussianProcess, fit_lengths, soften

OWNER = np.arange(3)


def data(n=40, seed=0):
    x = np.random.default_rng(seed).random((n, 3))
    y = np.sin(5 * x[:, 0]) + x[:, 1] ** 2  # the third does not matter
    return x, (y - y.mean()) / y.std()


def test_mean_and_spread_are_scikit_learns():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    x, y = data()
    logs = np.log([0.5, 1.0, 3.0, 1e-3])
    ours = GaussianProcess(x, y, OWNER, logs)
    kernel = Matern(length_scale=np.exp(logs[:3]), nu=2.5)
    theirs = GaussianProcessRegressor(kernel, alpha=1e-3 + 1e-8, optimizer=None)
    probes = np.random.default_rng(1).random((50, 3))
    mean, spread = theirs.fit(x, y).predict(probes, return_std=True)
    assert ours.mean(probes) == pytest.approx(mean, abs=1e-6)
    scale = np.sqrt(y @ np.linalg.solve(kernel(x) + (1e-3 + 1e-8) * np.eye(40), y) / 40)
    found = (ours.mean(probes) - ours.optimistic(probes, 2.0)) / 2
    assert found == pytest.approx(spread * scale, rel=1e-3, abs=1e-6)


def test_it_predicts_what_it_has_not_seen():
    x, y = data()
    process = GaussianProcess(x, y, OWNER, fit_lengths(x, y, OWNER))
    probes, truth = data(200, seed=2)
    assert np.corrcoef(process.mean(probes), truth)[0, 1] > 0.98


def test_the_likelihood_finds_which_hyperparameter_does_not_matter():
    x, y = data(80)
    lengths = np.exp(fit_lengths(x, y, OWNER)[:3])
    assert lengths[2] > 2 * lengths[0]


def test_the_gradient_is_the_losses_slope():
    from scipy.optimize import approx_fprime

    from deepseek_learn.tuner.surrogate import _loss

    x, y = data(15)
    squares = np.stack([((c[:, None] - c) ** 2).ravel() for c in x.T])
    at = np.log([0.4, 0.9, 2.0, 0.01])
    slope = approx_fprime(at, lambda p: _loss(p, squares, y, 0.0)[0], 1e-6)
    assert _loss(at, squares, y, 0.0)[1] == pytest.approx(slope, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("case", ["constant", "duplicates", "two trials"])
def test_awkward_data_gives_finite_predictions(case):
    x, y = data(12)
    if case == "constant":
        y = np.zeros(12)
    elif case == "duplicates":
        x, y = np.repeat(x, 4, axis=0), np.repeat(y, 4)
    else:
        x, y = x[:2], y[:2]
    process = GaussianProcess(x, y, OWNER, fit_lengths(x, y, OWNER))
    assert np.isfinite(process.optimistic(data(30, 3)[0], 2.0)).all()


def test_softening_keeps_the_order_and_the_good_half():
    y = np.array([0.01, 0.02, 0.03, 0.05, 0.9, 300.0])
    soft = soften(y)
    assert (np.diff(soft) > 0).all()
    good = y <= np.median(y)
    assert (soft[good] == y[good]).all()
    assert soft[-1] < 1
    assert (soften(np.ones(5)) == 1).all()
