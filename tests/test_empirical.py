"""The empirical tangent kernel against explicit Jacobians."""

import jax
import jax.numpy as jnp
import pytest
from helpers import assert_close

import widelinear as wl


@pytest.fixture
def model(key):
    net = wl.mlp(depth=2, width=8, outputs=3, activation=wl.erf, w_std=1.5, b_std=0.1)
    x1 = jax.random.normal(key, (5, 4), jnp.float64)
    x2 = jax.random.normal(jax.random.fold_in(key, 1), (7, 4), jnp.float64)
    return net.apply, net.init(jax.random.fold_in(key, 2), x1), x1, x2


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_it_is_the_product_of_explicit_jacobians_at_any_batch_size(model, batch_size):
    apply, params, x1, x2 = model
    expected = wl.oracles.jacobian_ntk(apply, params, x1, x2)
    assert_close(wl.empirical_ntk(apply, params, x1, x2, batch_size=batch_size), expected, rtol=1e-11, atol=1e-12)


def test_x2_by_default_is_x1(model):
    apply, params, x1, _ = model
    assert_close(wl.empirical_ntk(apply, params, x1), wl.empirical_ntk(apply, params, x1, x1), atol=0)


def test_it_is_symmetric_in_inputs_and_outputs_together(model):
    apply, params, x1, _ = model
    ntk = wl.empirical_ntk(apply, params, x1)
    assert_close(ntk, jnp.transpose(ntk, (1, 0, 3, 2)), rtol=1e-11, atol=1e-12)


def test_a_batch_size_of_zero_is_refused(model):
    apply, params, x1, _ = model
    with pytest.raises(ValueError, match="at least 1, but came 0"):
        wl.empirical_ntk(apply, params, x1, batch_size=0)
