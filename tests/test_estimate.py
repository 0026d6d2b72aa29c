"""Operations counted from traced programs against counts by hand, and pages that are traced but not run."""

import os
from functools import partial

import jax
import jax.numpy as jnp
import nbformat
import numpy as np
import pytest

import widelinear as wl
from tools import estimate as estimates
from tools.notebooks import write
from tools.operations import operations
from widelinear import training

A, B = jnp.ones((3, 4), jnp.float32), jnp.ones((4, 5), jnp.float32)
PRODUCT = 2 * 3 * 4 * 5
SQUARE = jnp.ones((4, 4), jnp.float32)


def counted(function, *arguments):
    return operations(jax.jit(function).trace(*arguments).jaxpr, jax.tree.leaves(arguments))


def test_a_matrix_product():
    assert counted(jnp.matmul, A, B) == PRODUCT
    assert counted(jnp.matmul, np.float64(A), np.float64(B)) == 2 * PRODUCT  # double precision
    assert counted(jax.vmap(jnp.matmul), jnp.stack([A] * 7), jnp.stack([B] * 7)) == 7 * PRODUCT


def test_a_convolution():
    x, kernel = jnp.ones((2, 8, 8, 3), jnp.float32), jnp.ones((3, 3, 3, 16), jnp.float32)
    convolve = partial(jax.lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    assert counted(lambda x, kernel: convolve(x, kernel, (1, 1), "SAME"), x, kernel) == 2 * (2 * 8 * 8 * 16) * (
        3 * 3 * 3
    )


def product_loop(a, first, count):
    return jax.lax.fori_loop(first, first + count, lambda _, b: a @ b, a)


def test_counting_calls_nothing():
    def asks(count):
        return jax.pure_callback(pytest.fail, jax.ShapeDtypeStruct((), jnp.int32), count)

    assert counted(asks, np.int32(1)) == 1


@pytest.mark.parametrize("steps", [0, 1, 9])
def test_a_loop_is_counted_as_often_as_its_argument_says(steps):
    assert counted(product_loop, SQUARE, 5, steps) == pytest.approx(steps * 2 * 4**3, abs=20)


def test_a_loop_over_intervals_is_counted_as_often_as_they_say():
    def over_intervals(a, intervals):
        return jax.lax.scan(lambda b, interval: (product_loop(b, 0, interval), None), a, intervals)[0]

    assert counted(over_intervals, SQUARE, np.array([1, 2, 4], np.int32)) == pytest.approx(7 * 2 * 4**3, abs=50)


def test_a_scan_is_counted_as_often_as_it_is_long():
    def scan(a):
        return jax.lax.scan(lambda b, _: (jax.jit(jnp.matmul)(a, b), None), a, length=6)[0]

    assert counted(scan, SQUARE) == 6 * 2 * 4**3


def test_of_branches_the_dearer_counts():
    def branches(a, yes):
        return jax.lax.cond(yes, lambda a: a @ a, lambda a: a @ a @ a, a)

    assert counted(branches, SQUARE, jnp.array(True)) == pytest.approx(2 * 2 * 4**3, abs=2)


@pytest.fixture
def page(tmp_path):
    def made(*sources):
        cells = [nbformat.v4.new_code_cell(source, id=f"c{number}") for number, source in enumerate(sources)]
        write(tmp_path / "01-page.ipynb", nbformat.v4.new_notebook(cells=cells))
        return tmp_path / "01-page.ipynb"

    return made


TRAIN = """\
import jax, jax.numpy as jnp
import widelinear.scale
ran = []
step = jax.jit(lambda w, x: (jax.debug.callback(ran.append, 1), w - x @ (x @ w))[1])
w, x = jnp.ones((64, 2), jnp.float32), jnp.ones((64, 64), jnp.float32)
w = step(w, x)
light = step(jnp.ones((2, 2)), jnp.ones((2, 2)))
jax.effects_barrier()
assert widelinear.scale.current() == "paper"
"""


def test_a_page_is_traced_and_what_takes_long_is_not_called(page, monkeypatch):
    monkeypatch.setattr(estimates, "LIGHT", 1e4)
    before = jax.jit, dict(os.environ), training.SECONDS_PER_CHUNK
    cost = estimates.estimate(page(TRAIN, "assert len(ran) == 1 and (w == 1).all()  # the start stands in for the end"))
    assert (jax.jit, dict(os.environ), training.SECONDS_PER_CHUNK) == before
    assert (cost.page, cost.programs, cost.stopped) == ("01-page", 1, "")
    assert cost.operations == pytest.approx(2 * 2 * 64 * 64 * 2, rel=0.05)
    assert cost.gigabytes * 1e9 >= 4 * (64 * 64 + 2 * 64 * 2)


def test_a_page_that_cannot_go_on_says_where(page, monkeypatch):
    monkeypatch.setattr(estimates, "LIGHT", 1e4)
    assert estimates.estimate(page(TRAIN, "raise ValueError('no')")).stopped == "cell c1: ValueError: no"


def test_claims_about_stand_ins_may_fail(page):
    claims = "from widelinear.claims import ClaimFailed\nraise ClaimFailed('of course')"
    assert estimates.estimate(page(claims)).stopped == ""


def test_zeros_among_stand_ins_do_not_stop_a_fit(page):
    fit = "import numpy as np, widelinear as wl\nwl.power_law(np.array([1, 2]), np.zeros((2, 2)))"
    assert estimates.estimate(page(fit)).stopped == ""


def test_in_a_process_of_its_own_programs_of_the_library_are_not_called_either(page):
    kernel = "import jax.numpy as jnp, widelinear as wl\nx = jnp.ones((4000, 4000))\n"
    kernel += "assert (wl.empirical_ntk(lambda w, x: x @ w, jnp.ones((4000, 1)), x) < 4000).all()  # a stand-in"
    cost = estimates.estimate_apart(page(kernel))
    assert cost.stopped == ""
    assert cost.operations > estimates.LIGHT


@pytest.mark.parametrize("shape", [(5, 5), (5, 5, 1, 1), (5, 5, 3, 3), (8, 5, 3, 3)])
def test_the_stand_in_for_a_kernel_is_symmetric_and_positive_definite(shape):
    kernel = estimates._stand_ins(jax.ShapeDtypeStruct(shape, np.float64), [], seed=0)
    assert kernel.shape == shape
    of = wl.modes(kernel if len(shape) == 2 else wl.flatten_outputs(kernel[:5]))  # refuses others
    assert 0.3 < of.rates[-1] < 1.5
    assert of.rates[-2] == pytest.approx(1 / shape[0])


def test_stand_ins_for_fewer_inputs_are_the_first_rows_of_those_for_more():
    few, many = (estimates._stand_ins(jax.ShapeDtypeStruct((n, 3, 2), np.float32), [], seed=7) for n in (4, 6))
    assert (few == many[:4]).all()


def test_a_matrix_of_zeros_that_is_to_be_filled_is_no_stand_in():
    zeros, params = jnp.zeros((4, 4)), jnp.ones((4, 4))
    filled, kept = (estimates._stand_ins(jax.typeof(a), [a], seed=0) for a in (zeros, params))
    assert jnp.linalg.eigvalsh(filled)[0] > 0.1
    assert kept is params


def test_training_at_a_rate_that_only_suits_stand_ins_does_not_stop_a_page(page):
    train = "import jax.numpy as jnp, numpy as np, optax, widelinear as wl\nx = jnp.eye(2)\n"
    train += "options = {'optimizer': optax.sgd(1e9), 'steps': range(99), 'record': lambda w: w}\n"
    train += "run = wl.train(lambda w, x: x @ w, x, x, x - 1, **options)\n"
    train += "assert not jnp.isfinite(run.records).all()\nwl.power_law(np.arange(1, 3), run.records[-1])"
    assert estimates.estimate(page(train)).stopped == ""


def test_convolutions_are_counted_as_on_a_gpu_which_copies_no_patches(page):
    traced = "from widelinear import layers, windows\nwith windows.convolutions_in_a_loop():\n"
    traced += "    assert windows.by_patches()  # as everywhere on a CPU\n    assert not layers.by_patches()"
    assert estimates.estimate(page(traced)).stopped == ""
