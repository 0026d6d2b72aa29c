"""What is not a network is refused in one sentence."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import Unhashable

import widelinear as wl
from widelinear.models import output_shape

X = jnp.ones((3, 5))


def refused(apply, params, message):
    with pytest.raises(ValueError, match=message):
        output_shape("test", apply, params, X)


def test_the_outputs_of_a_network_are_described():
    assert output_shape("test", lambda w, x: x @ w, jnp.ones((5, 2)), X) == jax.ShapeDtypeStruct((3, 2), X.dtype)


def test_integer_parameters_are_named():
    params = {"w": jnp.ones((5, 2)), "step": jnp.array(3)}
    refused(lambda p, x: x @ p["w"], params, r"params\['step'\] is int")
    for expand in (wl.linearize, lambda apply, p: wl.taylor_expand(apply, p, 2)):
        with pytest.raises(ValueError, match=r"(linearize|taylor_expand): .* params\['step'\] is int"):
            expand(lambda p, x: x @ p["w"], params)


def test_a_function_without_a_hash_is_refused():
    with pytest.raises(TypeError, match=r"test: apply must be a function with a hash, .* instance of Unhashable"):
        output_shape("test", Unhashable(lambda w, x: x @ w), jnp.ones((5, 2)), X)


@pytest.mark.parametrize(
    "apply",
    [
        lambda w, x: (x @ w)[:, 0],
        lambda w, x: (x @ w, None),
        lambda w, x: (x @ w)[:, None],
    ],
)
def test_outputs_that_are_no_matrix_are_refused(apply):
    refused(apply, jnp.ones((5, 2)), r"shape \(n, k\)")


def test_a_network_that_merges_examples_is_refused():
    refused(lambda w, x: (x @ w).mean(0, keepdims=True), jnp.ones((5, 2)), "n = 3 examples")


def test_a_function_that_is_not_pure_is_refused():
    rng, count = np.random.default_rng(0), itertools.count()
    refused(lambda w, x: x @ w + rng.standard_normal((3, 2)), jnp.ones((5, 2)), "must be a pure function")
    refused(lambda w, x: jax.jit(lambda w: (x @ w) * next(count))(w), jnp.ones((5, 2)), "must be a pure function")
    with pytest.raises(ValueError, match=r"empirical_ntk: .* pure function"):
        wl.empirical_ntk(lambda w, x: (x @ w) * rng.random(), jnp.ones((5, 2)), X)


def test_a_function_that_changes_its_program_is_refused():
    calls = itertools.count()
    refused(lambda w, x: x @ w + (1.0 if next(calls) else jnp.sin(x @ w)), jnp.ones((5, 2)), "must be a pure function")


def test_a_function_that_keeps_a_tracer_is_refused():
    kept = []

    def apply(w, x):
        kept.append(x @ w)
        return x @ w + jnp.sin(kept[0])

    with pytest.raises(ValueError, match=r"empirical_ntk: .* must be a pure function") as caught:
        wl.empirical_ntk(apply, jnp.ones((5, 2)), X)
    assert "\n" not in str(caught.value)


def test_constants_that_stay_are_no_matter_inside_a_program_or_not():
    table, mask = np.ones((3, 2)), jnp.array([[1.0, np.nan]])
    noise = jax.random.key(0)

    def apply(w, x):
        return x @ w * table + mask + jax.random.normal(noise, (3, 2), x.dtype)

    output_shape("test", apply, jnp.ones((5, 2)), X)
    jax.jit(lambda c: wl.empirical_ntk(lambda w, x: x @ w * c, jnp.ones((5, 2)), X))(2.0)


def test_a_network_that_needs_random_numbers_says_so():
    net = nn.Dropout(0.5, deterministic=False)
    with pytest.raises(Exception, match="needs PRNG"):
        output_shape("test", lambda p, x: net.apply({}, x) * p, jnp.ones(()), X)


@pytest.mark.parametrize("params", [{"v": jnp.ones((5, 2))}, {"w": jnp.ones((4, 2))}, {}])
def test_parameters_of_another_network_are_refused(params):
    def apply(p, x):
        return x @ p["w"]

    for compute in (wl.empirical_ntk, lambda apply, p, x: wl.ntk_matvec(apply, p, x)):
        with pytest.raises((KeyError, TypeError), match=r"w|dot_general"):
            compute(apply, params, X)
    with pytest.raises((ValueError, TypeError), match=r"w|shape"):
        wl.linearize(apply, {"w": jnp.ones((5, 2))})(params, X)
