"""The surrogate: Gaussian processes against their definition and scikit-learn's."""

import numpy as np
import pytest

from deepseek_learn.tuner.gaussian_process import GaussianProcess, fit_lengths, soften

OWNER = np.arange(3)


def data(n=40, seed=0):
    x = np.random.default_rng(seed).random((n, 3))
    y = np.sin(5 * x[:, 0]) + x[:, 1] ** 2  # the third has no effect
    return x, (y - y.mean()) / y.std()


def test_mean_and_spread_are_scikit_learns():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    x, y = data()
    logs = np.log([0.5, 1.0, 3.0, 1e-3])
    ours = GaussianProcess(x, y, OWNER, logs)
    kernel = Matern(length_scale=np.exp(logs[:3]), nu=2.5)
    reference = GaussianProcessRegressor(kernel, alpha=1e-3 + 1e-8, optimizer=None)
    probes = np.random.default_rng(1).random((50, 3))
    mean, spread = reference.fit(x, y).predict(probes, return_std=True)
    assert ours.mean(probes) == pytest.approx(mean, abs=1e-6)
    scale = np.sqrt(y @ np.linalg.solve(kernel(x) + (1e-3 + 1e-8) * np.eye(40), y) / 40)
    result = (ours.mean(probes) - ours.optimistic(probes, 2.0)) / 2
    assert result == pytest.approx(spread * scale, rel=1e-3, abs=1e-6)


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

    from deepseek_learn.tuner.gaussian_process import _loss

    x, y = data(15)
    squares = np.stack([((c[:, None] - c) ** 2).ravel() for c in x.T])
    at = np.log([0.4, 0.9, 2.0, 0.01])
    slope = approx_fprime(at, lambda p: _loss(p, squares, y, 0.0)[0], 1e-6)
    assert _loss(at, squares, y, 0.0)[1] == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_the_loss_is_the_likelihood_and_the_prior():
    from sklearn.gaussian_process.kernels import Matern

    from deepseek_learn.tuner.gaussian_process import _loss

    x, y = data(15)
    squares = np.stack([((c[:, None] - c) ** 2).ravel() for c in x.T])
    lengths, noise, usual = np.array([0.4, 0.9, 2.0]), 0.03, np.log(0.7)
    kernel = Matern(lengths, nu=2.5)(x) + (noise + 1e-8) * np.eye(15)
    # normal density at its maximizing variance, up to constants
    variance = y @ np.linalg.solve(kernel, y) / 15
    likelihood = 15 / 2 * np.log(variance) + np.linalg.slogdet(kernel)[1] / 2
    # prior: log lengths have spread 1 around the usual one, log noise 2 around 1e-3
    prior = ((np.log(lengths) - usual) ** 2).sum() / 2
    prior += (np.log(noise) - np.log(1e-3)) ** 2 / 2**2 / 2
    result, _ = _loss(np.log([*lengths, noise]), squares, y, usual)
    assert result == pytest.approx(likelihood + prior, rel=1e-6)


def test_lengths_are_sought_within_bounds_from_the_priors_middle(monkeypatch):
    from deepseek_learn.tuner import gaussian_process

    seen, minimize = {}, gaussian_process.minimize

    def watched(loss, start, **options):
        seen.update(options, start=start)
        return minimize(loss, start, **options)

    monkeypatch.setattr(gaussian_process, "minimize", watched)
    x, y = data(20)
    # two columns of one hyperparameter share a length
    logs = fit_lengths(x, y, np.array([0, 1, 1]))
    assert logs.shape == (3,)
    low, high = np.exp(seen["bounds"]).T
    assert low == pytest.approx([0.05, 0.05, 1e-6])
    assert high == pytest.approx([50, 50, 1])
    assert np.exp(seen["start"][:2]) == pytest.approx([0.6 * np.sqrt(2)] * 2)
    assert seen["args"][2] == pytest.approx(np.log(0.6 * np.sqrt(2)))
    assert (low <= np.exp(logs) * (1 + 1e-9)).all()
    assert (np.exp(logs) <= high * (1 + 1e-9)).all()


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


def test_softening_keeps_the_order_and_what_is_not_far_above_the_median():
    y = np.array([0.01, 0.02, 0.03, 0.05, 0.9, 300.0])  # 0.13 is not far yet
    soft = soften(y)
    assert (np.diff(soft) > 0).all()
    good = y <= 0.13
    assert soft[good] == pytest.approx(y[good], abs=1e-15)
    assert soft[-1] < 2
    assert (soften(np.ones(5)) == 1).all()


def test_softening_is_logarithmic_far_above_the_median():
    # the scale is four times the median minus the minimum: 8
    soft = soften(np.array([1.0, 2, 3, 9, 17]))
    assert soft == pytest.approx([1, 2, 3, 9, 9 + 8 * np.log(2)])
    level = np.array([1.0, 1, 1, 5])  # its scale is 0
    assert (soften(level) == level).all()
