"""One compiled training loop against one Python step after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import Unhashable, assert_close, slope

import widelinear as wl


@pytest.fixture
def problem(key):
    net = wl.mlp(depth=1, width=8, activation=wl.erf, w_std=1.5, b_std=0.1)
    x = jax.random.normal(key, (6, 4), jnp.float64)
    y = jnp.sign(x[:, :1])
    return net.apply, net.init(jax.random.fold_in(key, 1), x), x, y


def run(problem, **options):
    apply, params, x, y = problem
    settings = {
        "optimizer": optax.sgd(0.5),
        "steps": [0, 3, 20],
        "record": lambda p: {"outputs": apply(p, x), "loss": wl.mse_loss(apply(p, x), y)},
    }
    return wl.train(apply, params, x, y, **(settings | options))


def test_it_is_gradient_descent(problem):
    apply, params, x, y = problem
    history = run(problem)
    for row, steps in enumerate([0, 3, 20]):
        rate = wl.from_mean_loss(0.5, y)
        expected = wl.oracles.gradient_descent(apply, params, x, y, learning_rate=rate, steps=steps)
        assert_close(history.records["outputs"][row], apply(expected, x), rtol=1e-11)


def test_the_loss_is_half_the_mean_over_examples_and_outputs():
    assert float(wl.mse_loss(jnp.full((4, 3), 2.0), jnp.zeros((4, 3)))) == 2.0


def test_recording_more_often_changes_nothing(problem):
    often, seldom = run(problem, steps=np.arange(21)), run(problem, steps=[20])
    assert_close(often.records["outputs"][-1], seldom.records["outputs"][-1], atol=0)


def test_a_second_run_with_the_same_loss_and_optimizer_is_not_compiled_again(problem):
    traced, optimizer = [], optax.sgd(0.5)

    def loss(outputs, y):
        traced.append(1)
        return wl.mse_loss(outputs, y)

    run(problem, loss=loss, optimizer=optimizer)
    once = len(traced)
    run(problem, loss=loss, optimizer=optimizer)
    assert len(traced) == once


def test_a_second_run_with_the_same_record_does_not_compile_it_again(problem, caplog):
    apply, _, x, _ = problem
    traced, optimizer = [], optax.sgd(0.5)

    def record(params):
        traced.append(1)
        return apply(params, x)

    first = run(problem, record=record, optimizer=optimizer)
    once = len(traced)
    with jax.log_compiles():
        second = run(problem, record=record, optimizer=optimizer)
    assert len(traced) == once
    assert not [line for line in caplog.messages if line.startswith("Compiling")]
    assert_close(second.records, first.records, atol=0)


def test_a_loss_and_a_record_without_a_hash_do(problem):
    apply, _, x, _ = problem
    unhashable = run(problem, loss=Unhashable(wl.mse_loss), record=Unhashable(lambda p: apply(p, x)))
    assert_close(unhashable.records, run(problem).records["outputs"], atol=0)


def test_momentum_is_carried_from_one_record_to_the_next(problem):
    optimizer = optax.sgd(0.1, momentum=0.9)
    often, seldom = (run(problem, optimizer=optimizer, steps=steps) for steps in (np.arange(21), [20]))
    apply, params, x, y = problem
    velocity = jax.tree.map(jnp.zeros_like, params)
    for _ in range(20):
        gradient = jax.grad(lambda p: wl.mse_loss(apply(p, x), y))(params)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradient)
        params = jax.tree.map(lambda p, v: p - 0.1 * v, params, velocity)
    for history in (often, seldom):
        assert_close(history.records["outputs"][-1], apply(params, x), rtol=1e-11)


def test_the_final_parameters_are_those_of_the_last_record(problem):
    apply, _, x, _ = problem
    history = run(problem)
    assert_close(apply(history.params, x), history.records["outputs"][-1], rtol=1e-14)


def test_any_optimizer_can_train(problem):
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam mixes integers and floats
        history = run(problem, optimizer=optax.adam(0.01), steps=[0, 50])
    assert history.records["loss"][1] < history.records["loss"][0]


def test_divergence_is_reported_with_its_step(problem):
    with pytest.raises(FloatingPointError, match="at step 400 one is not: training has diverged"):
        run(problem, optimizer=optax.sgd(1e4), steps=[0, 400])


def test_divergence_is_reported_with_the_threshold_that_was_crossed(problem):
    apply, params, x, y = problem
    largest = np.linalg.eigvalsh(wl.empirical_ntk(apply, params, x, outputs=0))[-1]
    threshold = 2 * y.size / largest
    apply_lin = wl.linearize(apply, params)
    with pytest.raises(FloatingPointError, match=f"below 2 n k / λ_max = {threshold:.2g};"):
        run((apply_lin, params, x, y), optimizer=optax.sgd(1.5 * threshold), steps=[0, 8000], record=lambda p: p)
    run((apply_lin, params, x, y), optimizer=optax.sgd(0.9 * threshold), steps=[0, 8000], record=lambda p: p)


def outputs_of_both(problem):
    """Models, parameters and record of a network and its linearization."""
    apply, params, x, _ = problem
    models = {"network": apply, "linearized": wl.linearize(apply, params)}
    return models, dict.fromkeys(models, params), lambda p: {name: models[name](p[name], x) for name in models}


@pytest.mark.parametrize("batches", [{}, {"batch_size": 2, "key": jax.random.key(3)}])
def test_models_side_by_side_train_as_they_do_alone(problem, batches):
    _, params, x, y = problem
    models, both, record = outputs_of_both(problem)
    optimizer = optax.sgd(0.3, momentum=0.9)
    together = run((models, both, x, y), record=record, optimizer=optimizer, **batches).records
    for name, model in models.items():
        alone = run((model, params, x, y), record=lambda p, m=model: m(p, x), optimizer=optimizer, **batches).records
        assert_close(together[name], alone, rtol=1e-11)
    assert wl.rmse(together["network"][-1], together["linearized"][-1]) > 1e-3


def test_the_linearization_trains_as_the_closed_form_says(problem):
    apply, params, x, y = problem
    apply_lin = wl.linearize(apply, params)
    trained = run((apply_lin, params, x, y), record=lambda p: apply_lin(p, x)).records[-1]
    ntk, f0 = wl.empirical_ntk(apply, params, x, outputs=0), apply(params, x)
    coefficients = wl.dual_coefficients(ntk, y - f0, 20, wl.GradientDescent(wl.from_mean_loss(0.5, y)))
    assert_close(trained, f0 + ntk @ coefficients, rtol=1e-10)


def test_under_momentum_the_gap_to_the_linearization_falls_with_the_width():
    # T18, the fully connected part: at most n^-1/2, the paper's bound; n^-1 is seen. On training inputs both fit.
    rng = np.random.default_rng(0)
    x, y, x_test = (jnp.asarray(rng.normal(size=shape)) for shape in ((6, 4), (6, 1), (20, 4)))
    optimizer = optax.sgd(0.2, momentum=0.9)

    def gap(width):
        net, squares = wl.mlp(depth=2, width=width, activation=wl.erf, w_std=1.5, b_std=0.1), []
        for seed in range(5):
            start = net.init(jax.random.key(seed), x)
            linear = wl.linearize(net.apply, start)
            models, params = {"network": net.apply, "linear": linear}, {"network": start, "linear": start}
            end = wl.train(models, params, x, y, optimizer=optimizer, steps=[100], record=lambda p: ()).params
            assert wl.mse_loss(net.apply(end["network"], x), y) < 0.1 * wl.mse_loss(net.apply(start, x), y)
            squares.append(jnp.mean((net.apply(end["network"], x_test) - linear(end["linear"], x_test)) ** 2))
        return np.mean(squares) ** 0.5

    widths = [64, 1024]
    assert -1.25 < slope(widths, [gap(width) for width in widths]) < -0.5  # five seeds leave an error of 0.08


def test_minibatches_are_those_of_shuffled_epochs(problem):
    # 6 examples in batches of 4: one batch an epoch, two examples left out. A step of Python after the other.
    apply, params, x, y = problem
    key = jax.random.key(5)
    history = run(problem, steps=[0, 1, 7], batch_size=4, key=key, optimizer=optax.sgd(0.5))
    for step in range(7):
        rows = jax.random.permutation(jax.random.fold_in(key, step), 6)[:4]
        gradient = jax.grad(lambda p, rows=rows: wl.mse_loss(apply(p, x[rows]), y[rows]))(params)
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient)
    assert_close(history.records["outputs"][-1], apply(params, x), rtol=1e-11)


def test_an_epoch_sees_every_example_once():
    # The gradient of the mean of f is constant: after an epoch the parameter is the sum over all examples.
    x = jnp.asarray(2.0 ** np.arange(12)).reshape(12, 1)
    history = wl.train(
        lambda w, x: x @ w,
        jnp.zeros((1, 1)),
        x,
        jnp.zeros((12, 1)),
        optimizer=optax.sgd(1.0),
        loss=lambda f, y: -jnp.sum(f),
        steps=np.arange(9),
        record=lambda w: w[0, 0],
        batch_size=3,
        key=jax.random.key(0),
    )
    seen = np.diff(history.records).astype(int)
    assert seen[:4].sum() == seen[4:].sum() == 2**12 - 1
    assert not np.array_equal(seen[:4], seen[4:])


def test_a_learning_rate_of_zero_changes_nothing(problem):
    history = run(problem, optimizer=optax.sgd(0.0))
    assert_close(history.records["outputs"][-1], history.records["outputs"][0], atol=0)


@pytest.mark.parametrize("batch_size", [0, 7])
def test_batches_that_do_not_fit_are_refused(problem, batch_size):
    with pytest.raises(ValueError, match=f"between 1 and the number 6 of examples, but came {batch_size}"):
        run(problem, batch_size=batch_size, key=jax.random.key(0))


def test_batches_without_a_key_are_refused(problem):
    with pytest.raises(ValueError, match="go together"):
        run(problem, batch_size=2)


def test_targets_of_another_shape_are_refused(problem):
    apply, params, x, y = problem
    with pytest.raises(ValueError, match=r"\(6, 1\), but came as \(6, 2\)"):
        run((apply, params, x, jnp.ones((6, 2))))
    with pytest.raises(ValueError, match=r"but came as \(5, 1\)"):
        run((apply, params, x, y[:5]))


def test_parameters_of_other_models_are_refused(problem):
    apply, params, x, y = problem
    with pytest.raises(ValueError, match=r"\['a'\], but came with \['b'\]"):
        run(({"a": apply}, {"b": params}, x, y))


@pytest.mark.parametrize("steps", [[], [3, 3], [5, 2], [-1, 4]])
def test_steps_that_do_not_increase_are_refused(problem, steps):
    with pytest.raises(ValueError, match="increasing"):
        run(problem, steps=steps)


def test_log_spaced_steps_start_at_zero_and_end_at_the_last():
    steps = wl.log_spaced_steps(100, per_octave=3)
    assert steps[0] == 0
    assert steps[-1] == 100
    assert (np.diff(steps) > 0).all()
    assert wl.log_spaced_steps(1).tolist() == [0, 1]
