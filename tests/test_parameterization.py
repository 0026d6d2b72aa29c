"""T21: two parameterizations of one network, the same at the start and, with the mapped rates, at every step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close

import widelinear as wl

W_STD, B_STD = 1.7, 0.3


def dense(parameterization):
    return wl.Serial(
        [
            wl.Dense(6, W_STD, B_STD, parameterization=parameterization),
            wl.Activate(wl.erf),
            wl.Dense(2, W_STD, B_STD, parameterization=parameterization),
        ]
    )


def convolutional(parameterization):
    return wl.Serial(
        [
            wl.Conv(5, padding="CIRCULAR", w_std=W_STD, b_std=B_STD, parameterization=parameterization),
            wl.Activate(wl.erf),
            wl.GlobalAvgPool(),
            wl.Dense(2, W_STD, B_STD, parameterization=parameterization),
        ]
    )


NETWORKS = {"dense": (dense, (7, 5)), "convolutional": (convolutional, (7, 4, 4, 3))}


@pytest.fixture(scope="module", params=NETWORKS)
def both(request):
    """Outputs of NTK and standard parameterization as functions of their parameters, and equal starts."""
    build, shape = NETWORKS[request.param]
    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.normal(size=shape)), jnp.asarray(rng.normal(size=(7, 2)))
    ntk, standard = build("ntk"), build("standard")
    shapes = jax.eval_shape(ntk.init, jax.random.key(0), x)
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape)), shapes)
    return ntk.apply, standard.apply, params, wl.ntk_scales(params, w_std=W_STD, b_std=B_STD), x, y


def test_the_mapped_parameters_are_the_same_network(both):
    ntk, standard, params, scales, x, _ = both
    assert_close(standard(wl.to_standard(params, scales), x), ntk(params, x), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("momentum", [None, 0.9])
def test_the_mapped_rates_give_equal_outputs_at_every_step(both, momentum):
    ntk, standard, params, scales, x, y = both
    rate, steps = 0.1, np.arange(31)

    def outputs(apply, params, optimizer):
        return wl.train(apply, params, x, y, optimizer=optimizer, steps=steps, record=lambda p: apply(p, x)).records

    of_standard = outputs(standard, wl.to_standard(params, scales), optax.sgd(rate, momentum=momentum))
    rates = wl.ntk_learning_rates(rate, scales)
    of_ntk = outputs(ntk, params, wl.sgd_with_rates(rates, momentum))
    assert np.abs(of_ntk[-1] - of_ntk[0]).max() > 0.1, "training moved the outputs"
    assert_close(of_ntk, of_standard, atol=1e-10)


def test_equal_rates_are_plain_gradient_descent(both):
    ntk, _, params, _, x, y = both
    gradient = jax.grad(lambda p: wl.mse_loss(ntk(p, x), y))(params)
    for momentum in (None, 0.9):
        ours = wl.sgd_with_rates(jax.tree.map(lambda _: 0.3, params), momentum)
        theirs = optax.sgd(0.3, momentum=momentum)
        one, other = (optimizer.update(gradient, optimizer.init(params))[0] for optimizer in (ours, theirs))
        jax.tree.map(lambda a, b: assert_close(a, b, rtol=1e-14), one, other)


def test_the_map_is_that_of_the_paper(both):
    # S37, with η₀ = n_max η_std, for the first layer of the dense network.
    _, _, _, scales, x, _ = both
    rates = wl.ntk_learning_rates(0.1, scales)["params"]["layers_0"]
    fan_in = x.shape[-1] * (9 if x.ndim == 4 else 1)
    assert_close(rates["w"], fan_in / W_STD**2 * 0.1, rtol=1e-14)
    assert_close(rates["b"], 1 / B_STD**2 * 0.1, rtol=1e-14)


def test_other_parameters_are_refused():
    with pytest.raises(ValueError, match=r"\['scale'\]"):
        wl.ntk_scales({"scale": jnp.ones(2)}, w_std=1.0, b_std=0.0)


@pytest.mark.parametrize("name", NETWORKS)
def test_one_draw_has_the_law_of_init(name):
    build, shape = NETWORKS[name]
    net, x, keys = build("ntk"), jnp.ones(shape), jax.random.split(jax.random.key(0), 4000)
    ours, theirs = (
        jax.vmap(draw)(keys) for draw in (lambda key: wl.normal_params(net.init, key, x), lambda key: net.init(key, x))
    )
    assert jax.tree.map(jnp.shape, ours) == jax.tree.map(jnp.shape, theirs)
    assert jax.tree.map(jnp.result_type, ours) == jax.tree.map(jnp.result_type, theirs)
    error = 5 / 4000**0.5  # five standard errors of a mean; √2 for a variance
    for params in (ours, theirs):
        flat = np.concatenate([leaf.reshape(4000, -1) for leaf in jax.tree.leaves(params)], axis=1)
        assert np.abs(flat.mean(0)).max() < error
        assert np.abs(np.cov(flat.T) - np.eye(flat.shape[1])).max() < 2**0.5 * error
