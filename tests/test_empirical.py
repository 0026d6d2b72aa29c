"""The empirical kernels against explicit Jacobians, and against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, relative_gap
from networks import NETWORKS, example

import widelinear as wl


@pytest.fixture(scope="module")
def model():
    net = wl.mlp(depth=2, width=8, outputs=3, activation=wl.erf, w_std=1.5, b_std=0.1)
    rng = np.random.default_rng(0)
    x1, x2 = jnp.asarray(rng.normal(size=(5, 4))), jnp.asarray(rng.normal(size=(7, 4)))
    shapes = jax.eval_shape(net.init, jax.random.key(0), x1)
    return net.apply, jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), shapes), x1, x2


@pytest.fixture(scope="module")
def expected(model):
    return wl.oracles.jacobian_ntk(*model)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_it_is_the_product_of_explicit_jacobians_at_any_batch_size(model, expected, batch_size):
    apply, params, x1, x2 = model
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


def reduced(ntk, outputs):
    """A full kernel, reduced over outputs by hand."""
    diagonal = np.einsum("abii->abi", ntk)
    k = ntk.shape[-1]
    by_name = {"full": ntk, "diagonal": diagonal, "mean": diagonal.sum(-1) / k, "pseudo": ntk.sum((2, 3)) / k}
    return by_name[outputs] if outputs in by_name else diagonal[:, :, outputs]


@pytest.mark.parametrize("method", ["structured", "jacobian", "vector products"])
@pytest.mark.parametrize("outputs", ["full", "diagonal", "mean", "pseudo", 1])
def test_every_method_and_every_choice_of_outputs_meets_the_jacobian(model, expected, method, outputs):
    ntk = wl.empirical_ntk(*model, outputs=outputs, method=method)
    assert_close(ntk, reduced(expected, outputs), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_meets_the_jacobian(name):
    apply, params, x = example(name)
    oracle = jax.jit(wl.oracles.jacobian_ntk, static_argnums=0)
    assert_close(
        wl.empirical_ntk(apply, params, x, method="structured"), oracle(apply, params, x, x), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("outputs", ["full", "mean"])
def test_a_symmetric_kernel_is_put_together_from_half_of_its_blocks(outputs, model):
    apply, params, _, x = model
    whole = wl.empirical_ntk(apply, params, x, outputs=outputs)
    assert_close(wl.empirical_ntk(apply, params, x, outputs=outputs, batch_size=3), whole, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("outputs", ["full", "diagonal", "mean"])
def test_a_large_symmetric_kernel_from_three_quarters_is_the_whole(model, outputs):
    apply, params, x, _ = model
    many = jnp.asarray(np.random.default_rng(1).standard_normal((259, *x.shape[1:])))
    whole = wl.empirical_ntk(apply, params, many, many, outputs=outputs, method="structured")
    assert_close(wl.empirical_ntk(apply, params, many, outputs=outputs, method="structured"), whole, atol=1e-12)
    terms = wl.empirical_ntk_terms(apply, params, many, outputs=outputs)
    assert_close(sum(terms.values()), whole, atol=1e-12)


@pytest.mark.parametrize("x2", [None, slice(2)])
def test_gradients_written_out_a_few_examples_at_a_time_give_the_same_kernel(monkeypatch, x2):
    apply, params, x = example("circular", n=5)
    other = None if x2 is None else x[x2]
    at_once = wl.empirical_ntk(apply, params, x, other, method="structured")
    plan = wl.structured.plan_gradients(apply, params, [x], jnp.eye(3), "full")
    monkeypatch.setattr(wl.empirical, "_plan", lambda *_: plan._replace(rows=3))
    assert_close(wl.empirical_ntk(apply, params, x, other, method="structured"), at_once, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("batch_size", [None, 2])
def test_the_terms_of_layers_are_kernels_with_the_others_frozen(model, batch_size):
    apply, params, x, _ = model
    terms = wl.empirical_ntk_terms(apply, params, x, batch_size=batch_size)
    assert_close(sum(terms.values()), wl.empirical_ntk(apply, params, x), rtol=1e-11, atol=1e-12)
    for layer, own in list(params["params"].items())[:2]:

        def only(p, x, layer=layer):
            return apply({"params": params["params"] | {layer: p}}, x)

        expected = wl.oracles.jacobian_ntk(only, own, x, x)
        assert_close(terms[f"params/{layer}"], expected, rtol=1e-11, atol=1e-12)


def test_parameters_are_grouped_as_asked(model):
    apply, params, x, _ = model
    terms = wl.empirical_ntk_terms(apply, params, x, group=lambda path: path[-1].key, outputs="mean")
    assert set(terms) == {"w", "b"}
    assert_close(sum(terms.values()), wl.empirical_ntk(apply, params, x, outputs="mean"), rtol=1e-11)


def test_the_kernel_is_a_linear_map(model):
    apply, params, x, _ = model
    v = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)))
    expected = np.einsum("abij,bj->ai", wl.empirical_ntk(apply, params, x), v)
    assert_close(wl.ntk_matvec(apply, params, x)(v), expected, rtol=1e-11)


def test_the_linear_map_solves_by_conjugate_gradients(model):
    apply, params, x, _ = model
    product, targets = wl.ntk_matvec(apply, params, x), jnp.ones((5, 3))
    solution, _ = jax.scipy.sparse.linalg.cg(product, targets, tol=1e-10)
    assert relative_gap(product(solution), targets) < 1e-8


def test_the_empirical_nngp_is_the_mean_over_outputs(model):
    apply, params, x1, x2 = model
    f1, f2 = np.asarray(apply(params, x1)), np.asarray(apply(params, x2))
    expected = np.mean([np.outer(f1[:, i], f2[:, i]) for i in range(3)], axis=0)
    assert_close(wl.empirical_nngp(apply, params, x1, x2), expected, rtol=1e-12, atol=1e-14)
    assert_close(wl.empirical_nngp(apply, params, x1), wl.empirical_nngp(apply, params, x1, x1), atol=0)


def test_one_example_and_repeated_examples_are_no_special_case(model):
    apply, params, x, _ = model
    twice = jnp.concatenate([x[:1], x[:1]])
    one, two = (wl.empirical_ntk(apply, params, inputs) for inputs in (x[:1], twice))
    assert one.shape == (1, 1, 3, 3)
    for a, b in np.ndindex(2, 2):
        assert_close(two[a, b], one[0, 0], rtol=1e-12)


@pytest.mark.parametrize("outputs", [3, -1, "all"])
def test_outputs_that_do_not_exist_are_refused(model, outputs):
    apply, params, x, _ = model
    with pytest.raises(ValueError, match="from 0 to 2, but came"):
        wl.empirical_ntk(apply, params, x, outputs=outputs)


def test_an_unknown_method_is_refused(model):
    apply, params, x, _ = model
    with pytest.raises(ValueError, match="one of structured, jacobian, vector products, but came 'magic'"):
        wl.empirical_ntk(apply, params, x, method="magic")
