"""Gradients as outer products: found where they should be, and equal to explicit Jacobians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close
from networks import NETWORKS, example

import widelinear as wl
from widelinear.structured import (
    OuterProducts,
    contraction,
    kernel_contribution,
    parameter_gradients,
    plan_gradients,
    planned_gradients,
)


def explicit(gradient):
    """Σ_s u_s ⊗ v_s, written out, as (n, q, p)."""
    return np.einsum("nsi,nqso->nqio", *gradient).reshape(*gradient.cotangents.shape[:2], -1)


@pytest.mark.parametrize("name", NETWORKS)
def test_outer_products_are_the_explicit_gradients(name):
    apply, params, x = example(name)
    jacobian = jax.jit(jax.jacobian(lambda p: apply(p, x)))(params)
    gradients = jax.jit(lambda p: parameter_gradients(apply, p, x, jnp.eye(3)))(params)
    for gradient, leaf in zip(gradients, jax.tree.leaves(jacobian), strict=True):
        # A weight may come with its axes in another order: inner products do not see it, so neither does this.
        ours, theirs = explicit(gradient), np.asarray(leaf).reshape(3, 3, -1)
        assert_close(np.sort(ours, axis=-1), np.sort(theirs, axis=-1), atol=1e-13)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("circular", {"w": (16, 18), "readout": (1, 4), "b": (1, 1)}),
        ("strided", {"w": (15, 12), "w2": (15, 36), "readout": (1, 30)}),
        ("grouped", {"w": (1, 1), "readout": (1, 4)}),
        ("tokens", {"w": (4, 5), "scale": (1, 1), "readout": (1, 6)}),
        ("tied", {"w": (1, 1), "unused": (1, 1), "readout": (1, 5)}),
    ],
)
def test_weights_are_recognised_and_what_is_not_stays_explicit(name, found):
    apply, params, x = example(name)
    shapes = jax.eval_shape(lambda p: parameter_gradients(apply, p, x, jnp.eye(3)), params)
    gradients = dict(zip(sorted(params), shapes, strict=True))
    assert {leaf: gradients[leaf].inputs.shape[1:] for leaf in gradients} == found


def test_directions_combine_outputs():
    apply, params, x = example("circular")
    gradients = jax.jit(lambda p, directions: parameter_gradients(apply, p, x, directions))
    each, combined = gradients(params, jnp.eye(3)), gradients(params, jnp.array([[1.0, -2.0, 0.5]]))
    for one, all_outputs in zip(combined, each, strict=True):
        expected = np.einsum("q,nqp->np", [1.0, -2.0, 0.5], explicit(all_outputs))
        assert_close(explicit(one)[:, 0], expected, atol=1e-13)


@pytest.mark.parametrize("sites", [1, 2, 50])
@pytest.mark.parametrize("pairing", ["full", "diagonal", "trace"])
def test_a_contribution_is_the_inner_product_of_gradients_in_any_order_of_sums(sites, pairing):
    rng = np.random.default_rng(0)
    g1, g2 = (OuterProducts(rng.normal(size=(n, sites, 6)), rng.normal(size=(n, 3, sites, 5))) for n in (2, 4))
    full = np.einsum("aqp,brp->aqbr", explicit(g1), explicit(g2))
    diagonal = np.einsum("aqbq->abq", full)
    expected = {"full": full, "diagonal": diagonal, "trace": diagonal.sum(-1)}[pairing]
    g1, g2 = jax.tree.map(jnp.asarray, (g1, g2))
    assert_close(kernel_contribution(g1, g2, pairing), expected, atol=1e-11)


def test_a_layer_with_one_site_contracts_its_gram_matrices_first():
    one, many = (OuterProducts(jnp.ones((2, s, 5)), jnp.ones((2, 3, s, 4))) for s in (1, 100))
    assert not contraction(one, one, "full")[2]
    assert contraction(many, many, "full")[2]


def test_gradients_of_weights_with_many_sites_are_written_out():
    apply, params, x = example("circular", n=5)
    plan = plan_gradients(apply, params, [x], jnp.eye(3), "full")
    assert dict(zip(sorted(params), plan.written_out, strict=True)) == {"b": False, "readout": False, "w": True}
    found, planned = (
        jax.jit(lambda p, f=f: f(p))(params)
        for f in (
            lambda p: parameter_gradients(apply, p, x, jnp.eye(3)),
            lambda p: planned_gradients(apply, p, x, jnp.eye(3), plan),
        )
    )
    assert planned[2].inputs.shape == (5, 1, 1)
    for ours, theirs in zip(planned, found, strict=True):
        assert_close(explicit(ours), explicit(theirs), atol=1e-13)


def test_no_gradient_of_a_dense_network_is_ever_written_out():
    net = wl.mlp(depth=3, width=64, outputs=2, b_std=0.1)
    x = jnp.ones((4, 32), jnp.float32)
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)
    gradients = jax.eval_shape(lambda p: parameter_gradients(net.apply, p, x, jnp.eye(2, dtype=jnp.float32)), shapes)
    assert max(leaf.size for leaf in jax.tree.leaves(gradients)) <= 4 * 2 * 64
