"""The trained ensemble against its equations written literally, sampled networks, and another library's numbers."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, relative_gap
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct

import widelinear as wl

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "neural_tangents.npz"
TIMES = np.array([0.0, 0.1, 3.0, 200.0])


def kernels_of(net, x, x_test):
    """Train × train, test × train and test × test (NNGP only), cut out of one matrix."""
    n, both = len(x), jax.jit(lambda points: wl.kernel_matrix(net, points))(jnp.concatenate([x, x_test]))
    train, cross = (wl.Kernels(*(kernel[rows, :n] for kernel in both)) for rows in (slice(n), slice(n, None)))
    return train, cross, both.nngp[n:, n:]


def erf_net(**settings):
    return wl.mlp(depth=2, width=1, **({"activation": wl.erf, "w_std": 1.5, "b_std": 0.1} | settings))


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    x, x_test, y = (jnp.asarray(rng.standard_normal(shape)) for shape in ((6, 5), (4, 5), (6, 2)))
    return (*kernels_of(erf_net(), x, x_test), y)


@pytest.mark.parametrize("layers", ["all", "readout"])
def test_it_is_the_equations_with_a_matrix_exponential(problem, layers):
    kernels, kernels_test, nngp_test, y = problem
    ensemble = wl.predict_ensemble(*problem, TIMES, layers=layers)
    if layers == "readout":  # then 𝒦 itself is the tangent kernel, and eq. 15 becomes the corrected S23
        kernels, kernels_test = (wl.Kernels(k.nngp, k.nngp) for k in (kernels, kernels_test))
    for row, time in enumerate(TIMES):
        mean, cov = wl.oracles.predict_ensemble(kernels, kernels_test, nngp_test, y, float(time))
        assert_close(ensemble.mean[row], mean, rtol=1e-10, atol=1e-12)
        assert_close(ensemble.cov[row], cov, rtol=1e-10, atol=1e-11)


def test_the_printed_variance_of_the_readout_is_rejected(problem):
    # E2: S23 is printed with e^{−ηKt}; right is e^{−2ηKt}.
    kernels, kernels_test, nngp_test, y = problem
    _, right = wl.oracles.predict_ensemble(
        wl.Kernels(kernels.nngp, kernels.nngp), wl.Kernels(kernels_test.nngp, kernels_test.nngp), nngp_test, y, 0.1
    )
    printed = nngp_test - wl.response(kernels_test.nngp, kernels.nngp, 0.1) @ kernels_test.nngp.T
    corrected = nngp_test - wl.response(kernels_test.nngp, kernels.nngp, 2 * 0.1) @ kernels_test.nngp.T
    assert relative_gap(corrected, right) < 1e-12
    assert relative_gap(printed, right) > 0.05


@pytest.mark.parametrize(
    ("rule", "time"), [(wl.GradientDescent(0.02), 30), (wl.HeavyBall(0.02, 0.9), 30), (wl.HeavyBallFlow(0.02, 0.9), 4)]
)
def test_every_rule_is_an_affine_map_of_the_prior(problem, rule, time):
    kernels, kernels_test, nngp_test, y = problem
    for layers, ntk, ntk_test in (
        ("all", kernels.ntk, kernels_test.ntk),
        ("readout", kernels.nngp, kernels_test.nngp),
    ):
        ensemble = wl.predict_ensemble(*problem, time, rule, layers=layers)
        joint = jnp.block([[nngp_test, kernels_test.nngp], [kernels_test.nngp.T, kernels.nngp]])
        affine = jnp.concatenate([jnp.eye(4), -wl.response(ntk_test, ntk, time, rule)], axis=1)
        assert_close(ensemble.cov, affine @ joint @ affine.T, atol=1e-11)
        assert_close(ensemble.mean, -affine[:, 4:] @ y, atol=1e-12)


def test_readouts_trained_from_random_starts_are_draws_from_the_posterior():
    # T17, sample-then-optimize: fixed random features, many random readouts, each trained as a model of its own.
    rng = np.random.default_rng(1)
    draws, time = 20_000, 0.3
    x, x_test = rng.standard_normal((5, 3)), rng.standard_normal((3, 3))
    weights = rng.standard_normal((3, 40))
    features, features_test = (jnp.asarray(np.tanh(points @ weights) / 40**0.5) for points in (x, x_test))
    nngp, cross, nngp_test = features @ features.T, features_test @ features.T, features_test @ features_test.T
    readouts = jnp.asarray(rng.standard_normal((40, draws)))
    y = jnp.asarray(rng.standard_normal((5, 1)))
    residual, start = jnp.broadcast_to(y, (5, draws)) - features @ readouts, features_test @ readouts
    times = np.array([time, np.inf])
    trained = wl.predict(cross, nngp, residual, start, times)  # every draw is an output
    pair, pair_test = wl.Kernels(nngp, nngp), wl.Kernels(cross, cross)
    ensemble = wl.predict_ensemble(pair, pair_test, nngp_test, y, times, layers="readout")
    for row in range(2):
        cov = np.cov(trained[row])
        scale = np.sqrt(np.outer(ensemble.std[row], ensemble.std[row]))
        assert np.abs(cov - ensemble.cov[row]).max() < 5 * scale.max() ** 2 / draws**0.5
        assert np.abs(trained[row].mean(1) - ensemble.mean[row, :, 0]).max() < 5 * scale.max() / draws**0.5
    printed = nngp_test - wl.response(cross, nngp, time) @ cross.T
    assert np.abs(np.cov(trained[0]) - printed).max() > 10 * scale.max() ** 2 / draws**0.5  # E2
    posterior = wl.nngp_posterior(nngp, cross, nngp_test, y)
    assert_close(ensemble.mean[1], posterior.mean, atol=1e-12)
    assert_close(ensemble.cov[1], posterior.cov, atol=1e-12)


def test_training_all_layers_ends_at_no_posterior_but_for_a_linear_network(problem):
    # T16 and footnote 5.
    kernels, kernels_test, nngp_test, y = problem
    ensemble = wl.predict_ensemble(*problem, np.inf)
    posterior = wl.nngp_posterior(kernels.nngp, kernels_test.nngp, nngp_test, y)
    assert relative_gap(ensemble.mean, posterior.mean) > 0.01
    rng = np.random.default_rng(2)
    x, x_test = jnp.asarray(rng.standard_normal((4, 6))), jnp.asarray(rng.standard_normal((3, 6)))
    linear = kernels_of(wl.mlp(depth=2, width=1, activation=wl.identity, w_std=1.2), x, x_test)
    ensemble = wl.predict_ensemble(*linear, y[:4], np.inf)
    posterior = wl.nngp_posterior(linear[0].nngp, linear[1].nngp, linear[2], y[:4])
    assert_close(ensemble.mean, posterior.mean, atol=1e-9)
    assert_close(ensemble.cov, posterior.cov, atol=1e-9)


def test_on_training_inputs_the_prior_shrinks_from_both_sides(problem):
    kernels, _, _, y = problem
    ensemble = wl.predict_ensemble(kernels, kernels, kernels.nngp, y, np.array([0.2, np.inf]))
    kept = np.eye(6) - wl.response(kernels.ntk, kernels.ntk, 0.2)
    assert_close(ensemble.cov[0], kept @ kernels.nngp @ kept.T, atol=1e-12)
    assert_close(ensemble.cov[1], np.zeros((6, 6)), atol=1e-10)
    assert_close(ensemble.mean[1], y, atol=1e-10)


def test_the_posterior_with_noise_is_that_of_scikit_learn():
    rng = np.random.default_rng(3)
    x, x_test, y = (rng.standard_normal(shape) for shape in ((6, 3), (4, 3), (6, 1)))
    kernel = DotProduct(sigma_0=0.7)
    model = GaussianProcessRegressor(kernel, alpha=0.3, optimizer=None).fit(x, y[:, 0])
    mean, cov = model.predict(x_test, return_cov=True)
    ours = wl.nngp_posterior(*(jnp.asarray(k) for k in (kernel(x), kernel(x_test, x), kernel(x_test), y)), noise=0.3)
    assert_close(ours.mean[:, 0], mean, atol=1e-10)
    assert_close(ours.cov, cov, atol=1e-10)


@pytest.mark.parametrize("layers", ["all", "readout"])
def test_variances_alone_are_the_diagonal(problem, layers):
    kernels, kernels_test, nngp_test, y = problem
    full = wl.predict_ensemble(*problem, TIMES.reshape(2, 2), layers=layers)
    small = wl.predict_ensemble(kernels, kernels_test, jnp.diag(nngp_test), y, TIMES.reshape(2, 2), layers=layers)
    assert full.cov.shape == (2, 2, 4, 4)
    assert small.cov.shape == (2, 2, 4)
    assert_close(small.variance, full.variance, atol=1e-13)
    assert_close(small.std, full.std, atol=1e-13)
    assert_close(small.mean, full.mean, atol=0)


def test_the_expected_loss_is_the_mean_over_samples(problem):
    ensemble = wl.predict_ensemble(*problem, TIMES[1:3])
    y_test = jnp.asarray(np.random.default_rng(4).standard_normal((4, 2)))
    expected = wl.expected_mse_loss(ensemble, y_test)
    for row in range(2):
        # Four antithetic points for every direction of a Gaussian have its mean and covariance exactly.
        factor = np.linalg.cholesky(ensemble.cov[row])
        steps = np.concatenate([factor, -factor], axis=1).T * 2.0
        functions = np.asarray(ensemble.mean[row])[None] + steps[:, :, None]
        losses = [float(wl.mse_loss(jnp.asarray(f), y_test)) for f in functions]
        assert_close(expected[row], np.mean(losses), rtol=1e-12)


def test_repeated_inputs_are_averaged(problem):
    kernels, kernels_test, nngp_test, y = problem
    again = np.array([0, 1, 2, 3, 4, 5, 0])
    twice = wl.Kernels(*(kernel[again][:, again] for kernel in kernels))
    twice_test = wl.Kernels(*(kernel[:, again] for kernel in kernels_test))
    targets = y[again].at[0].add(1.0).at[-1].add(-1.0)
    for layers in ("all", "readout"):
        repeated = wl.predict_ensemble(twice, twice_test, nngp_test, targets, np.inf, layers=layers)
        once = wl.predict_ensemble(*problem, np.inf, layers=layers)
        assert_close(repeated.mean, once.mean, atol=1e-9)
        assert_close(repeated.cov, once.cov, atol=1e-9)


def test_it_works_inside_jit_grad_and_vmap(problem):
    y = problem[-1]
    for layers in ("all", "readout"):
        run = jax.jit(lambda y, time, layers=layers: wl.predict_ensemble(*problem[:3], y, time, layers=layers))
        eager = wl.predict_ensemble(*problem, 0.3, layers=layers)
        many = jax.vmap(run, in_axes=(None, 0))(y, jnp.array([0.3, 2.0]))
        assert_close(many.mean[0], eager.mean, atol=1e-13)
        assert_close(many.cov[0], eager.cov, atol=1e-13)
        ahead = wl.predict_ensemble(*problem, np.array([0.3 - 1e-5, 0.3 + 1e-5]), layers=layers).std.sum(-1)
        by_time = jax.grad(lambda time, run=run: run(y, time).std.sum())(0.3)
        assert_close(by_time, (ahead[1] - ahead[0]) / 2e-5, rtol=1e-7)


def test_shapes_that_do_not_belong_together_are_refused(problem):
    kernels, kernels_test, nngp_test, y = problem
    with pytest.raises(ValueError, match=r"kernels_test.nngp: expected shape \(4, 6\)"):
        wl.predict_ensemble(kernels, wl.Kernels(kernels_test.nngp.T, kernels_test.ntk.T), nngp_test, y, 1.0)
    with pytest.raises(ValueError, match=r"kernels.nngp: expected shape \(5, 5\)"):
        wl.predict_ensemble(kernels, kernels_test, nngp_test, y[:5], 1.0)
    with pytest.raises(ValueError, match="expected 'all' or 'readout', but came 'last'"):
        wl.predict_ensemble(*problem, 1.0, layers="last")
    with pytest.raises(ValueError, match="noise: expected a variance"):
        wl.nngp_posterior(kernels.nngp, kernels_test.nngp, nngp_test, y, noise=-1.0)
    with pytest.raises(ValueError, match="positive semidefinite"):
        wl.nngp_posterior(-kernels.nngp, kernels_test.nngp, nngp_test, y)
    with pytest.raises(ValueError, match="expected targets of shape"):
        wl.expected_mse_loss(wl.Gaussian(jnp.zeros((3, 2)), jnp.eye(3)), jnp.zeros((3, 1)))


@pytest.mark.skipif(not REFERENCE.exists(), reason="the frozen neural-tangents numbers are not beside this checkout")
@pytest.mark.parametrize(("layers", "name"), [("all", "ntk"), ("readout", "nngp")])
def test_neural_tangents_ensembles_are_met(layers, name):
    with np.load(REFERENCE, allow_pickle=False) as reference:
        x, x_test, y = (jnp.asarray(reference[key]) for key in ("dyn_x", "dyn_xt", "dyn_y"))
        times = wl.from_mean_loss(np.array([0.5, 5.0, 50.0, np.inf]), y)
        ensemble = wl.predict_ensemble(*kernels_of(erf_net(), x, x_test), y, times, layers=layers)
        for row, time in enumerate(["0.5", "5.0", "50.0", "None"]):
            assert_close(ensemble.mean[row], reference[f"ensemble/{name}/t{time}/mean"], rtol=1e-10)
            assert_close(ensemble.cov[row], reference[f"ensemble/{name}/t{time}/cov"], rtol=1e-10)
