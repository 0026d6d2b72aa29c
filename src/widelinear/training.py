r"""Training any `apply(params, x)` with any optax optimizer, in one compiled loop, recorded as it goes."""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from widelinear.checkpoints import Checkpoints, NoCheckpoints, fingerprint
from widelinear.empirical import ntk_matvec
from widelinear.linearize import Apply, Linearized, Params
from widelinear.loop import Advance, Loss, compiled_loop, hashable, models_on
from widelinear.models import output_shape
from widelinear.progress import progress

Record = Any

THRESHOLD_EXAMPLES = 512
SECONDS_PER_CHUNK = 1.0  # how long the compiled loop runs before the progress bar and the checkpoint get a turn


class History(NamedTuple):
    """What a training run left behind.

    Args:
        steps: the steps at which it was recorded, shape (r,).
        records: what `record(params)` returned at each, stacked along a new first axis of length r.
        params: the parameters after the last step.

    Example:
        >>> import numpy as np
        >>> History(steps=np.array([0, 1]), records={"loss": np.array([0.5, 0.1])}, params=None).records["loss"].shape
        (2,)

    Source: house record. Oracle: `oracles.gradient_descent` (`tests/test_training.py`).
    """

    steps: Int[np.ndarray, " r"]
    records: Record
    params: Params


class _State(NamedTuple):
    """All that a run needs to go on: saved and restored as one."""

    params: dict[str, Params]
    optimizer_state: dict[str, Any]
    records: Record


class _Task(NamedTuple):
    """What is trained on: the compiled loop and its arguments beside the state."""

    advance: Advance
    models: dict[str, Any]
    x: Float[Array, "n ..."]
    y: Float[Array, "n k"]
    key: Array | None
    threshold: Callable[[], str]  # says, after a divergence, which learning rate would have been too large


def mse_loss(outputs: Float[Array, "n k"], y: Float[Array, "n k"]) -> Float[Array, ""]:
    r"""Half the squared error, averaged over examples and outputs.

    $$\frac{1}{2nk}\sum_{x}\|f(x) - y\|^2.$$

    Args:
        outputs: $f(X)$.
        y: targets.

    Returns:
        The loss that the paper trains on and plots.

    Example:
        >>> import jax.numpy as jnp
        >>> float(mse_loss(jnp.array([[1.0], [3.0]]), jnp.zeros((2, 1))))
        2.5

    Source: paper, footnote 2 of §2.1; `from_mean_loss` converts to the summed loss.
    Oracle: by hand (`tests/test_training.py`).
    """
    return jnp.mean((outputs - y) ** 2) / 2


def cross_entropy_loss(outputs: Float[Array, "n k"], y: Float[Array, "n k"]) -> Float[Array, ""]:
    r"""The cross-entropy of the softmax, averaged over examples and classes.

    $$-\frac{1}{nk}\sum_x\sum_i y^i \log\frac{e^{f^i(x)}}{\sum_j e^{f^j(x)}}.$$

    It divides by the number of classes too, as the squared loss does by the number of outputs: it is $1/k$ of the
    cross-entropy that most libraries print.

    Args:
        outputs: $f(X)$, the logits.
        y: targets: one-hot labels, or probabilities.

    Returns:
        The loss that the paper trains on and plots.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(cross_entropy_loss(jnp.zeros((2, 2)), jnp.eye(2))), 4)
        0.3466

    Source: paper, S5, and the scale of its figure S3. Oracle: frozen neural-tangents numbers (`tests/test_flows.py`).
    """
    return -jnp.mean(y * jax.nn.log_softmax(outputs))


def log_spaced_steps(last: int, per_octave: int = 2) -> Int[np.ndarray, " r"]:
    r"""Steps 0, 1, … , `last`, evenly spaced in $\log_2$ and without repetition.

    Args:
        last: the last step.
        per_octave: how many in each doubling.

    Returns:
        Increasing steps, from 0 to `last`.

    Example:
        >>> log_spaced_steps(8, per_octave=1).tolist()
        [0, 1, 2, 4, 8]

    Source: the time axes of the paper's figures. Oracle: by hand (`tests/test_training.py`).
    """
    if last < 1:
        raise ValueError(f"log_spaced_steps: last must be at least 1, but came {last}.")
    exponents = np.arange(0, np.log2(last) + 1 / per_octave, 1 / per_octave)
    steps = np.minimum(np.round(2**exponents), last).astype(int)
    return np.unique(np.concatenate([[0], steps, [last]]))


def train(
    apply: Apply | dict[str, Apply],
    params: Params,
    x: Float[Array, "n ..."],
    y: Float[Array, "m k"],
    *,
    optimizer: optax.GradientTransformation,
    steps: Sequence[int] | Int[np.ndarray, " r"],
    record: Callable[[Params], Record],
    loss: Loss = mse_loss,
    batch_size: int | None = None,
    key: Array | None = None,
    mesh: Mesh | None = None,
    checkpoint: str | Path | None = None,
    save_every: float = 60.0,
    label: str = "training",
) -> History:
    r"""Train, and record at given steps.

    $$\theta_{i+1} = \theta_i + \text{update}\big(\nabla_\theta\,\ell(f(X_i; \theta_i), y_i)\big).$$

    Every step runs inside one compiled loop; Python only takes over to record, to show progress and to save.
    Several models, for example a network and its linearization, train side by side on the same batches.

    Args:
        apply: the model, `apply(params, x)`; or several by name, `{"network": net.apply, "linearized": apply_lin}`.
        params: where it starts; for several models their parameters, by the same names.
        x: training inputs.
        y: training targets, shape (n, k).
        optimizer: an optax optimizer: `optax.sgd(learning_rate)` is gradient descent, with `momentum` heavy-ball.
        steps: increasing step numbers at which to record; the run ends at the last.
        record: a function of the parameters (of all, by name, for several models); any pytree of arrays.
        loss: `loss(outputs, y)`.
        batch_size: examples in a step; by default all. Each epoch shuffles anew and leaves out what does not fill a
            batch.
        key: shuffles the examples; needed with `batch_size`.
        mesh: devices that share the examples of every batch and have copies of the parameters, which `record` gets; by
            default everything stays where `params` and inputs are.
        checkpoint: a folder. A run that was killed continues from it, bit for bit, when called again in the same way.
        save_every: seconds between checkpoints.
        label: what the progress bar says.

    Returns:
        `History`: steps, stacked records, final parameters.

    Raises:
        ValueError: if the steps do not increase, if outputs and targets have different shapes, if `batch_size` is not
            between 1 and n or comes without a key, if a batch cannot be shared evenly by the devices, or if the
            checkpoint belongs to another run.
        FloatingPointError: if training diverges: a record that is not finite.

    Example:
        >>> import jax, jax.numpy as jnp, optax, widelinear as wl
        >>> apply, x, y = (lambda params, x: x @ params), jnp.eye(2), jnp.ones((2, 1))
        >>> run = wl.train(apply, jnp.zeros((2, 1)), x, y, optimizer=optax.sgd(1.0), steps=[0, 1, 8],
        ...                record=lambda params: {"loss": wl.mse_loss(apply(params, x), y)})
        >>> run.records["loss"].shape, bool(run.records["loss"][-1] < run.records["loss"][0])
        ((3,), True)

    Source: paper, §2.1. Oracle: `oracles.gradient_descent` (`tests/test_training.py`).
    """
    steps = checked_steps(steps)
    several = isinstance(apply, dict)
    models: dict[str, Apply] = apply if isinstance(apply, dict) else {"": apply}
    start: dict[str, Params] = params if several else {"": params}
    _check_task(models, start, x, y, batch_size, key)
    spread = None
    if mesh is not None:
        spread = _over_devices(mesh, batch_size or len(x))
        copied = NamedSharding(spread.mesh, PartitionSpec())
        models = {n: jax.device_put(m, copied) if isinstance(m, Linearized) else m for n, m in models.items()}
        start, key = jax.device_put((start, key), copied)
        x, y = jax.device_put((x, y), spread if batch_size is None else copied)
    advance, on_x = compiled_loop(hashable(loss), optimizer, batch_size, spread), models_on(x, models, batch_size)
    task = _Task(advance, on_x, x, y, key, lambda: _threshold(models, start, x) if loss is mse_loss else "")
    compiled, empty = _compiled(hashable(record), start if several else start[""])
    observe = compiled if several else lambda params: compiled(params[""])
    records = jax.tree.map(lambda r: np.zeros((len(steps), *r.shape), r.dtype), empty)
    state = _State(start, {name: optimizer.init(start[name]) for name in models}, records)
    with _open(checkpoint, save_every, task, state, steps) as saved, progress(label, total=int(steps[-1])) as bar:
        state = _run(task, state, steps, observe, saved, bar)
    return History(steps, state.records, state.params if several else state.params[""])


def _run(task: _Task, state: _State, steps: Int[np.ndarray, " r"], observe: Any, saved: Any, bar: Any) -> _State:
    """Advance from record to record, in chunks of about a second."""
    step, state = saved.restore(state)
    chunk = 1
    for row, target in enumerate(steps):
        while step < target:
            count, began = min(chunk, int(target) - step), time.monotonic()
            trained = task.advance(
                state.params, state.optimizer_state, step, count, task.models, task.x, task.y, task.key
            )
            jax.block_until_ready(trained)
            chunk = _next_chunk(count, time.monotonic() - began)
            step, state = step + count, state._replace(params=trained[0], optimizer_state=trained[1])
            bar.update(step - bar.n)
            saved.save(step, state)
        if step == target:  # otherwise it was recorded before the run was killed
            record = observe(state.params)
            _check_finite(record, step, task)
            state = state._replace(records=_recorded(state.records, row, record))
    saved.save(step, state, last=True)
    return state


def checked_steps(steps: Sequence[int] | Int[np.ndarray, " r"]) -> Int[np.ndarray, " r"]:
    """The steps at which to record, as an array.

    Args:
        steps: step numbers.

    Returns:
        The same.

    Raises:
        ValueError: if there are none, if they do not increase, or if one is negative.

    Example:
        >>> checked_steps([0, 3]).tolist()
        [0, 3]

    Source: house rule. Oracle: bad steps are refused (`tests/test_training.py`).
    """
    steps = np.asarray(steps)
    if len(steps) == 0 or steps[0] < 0 or (np.diff(steps) <= 0).any():
        raise ValueError(f"train: steps must be increasing and not negative, but came {steps.tolist()}.")
    return steps


def _over_devices(mesh: Mesh, examples: int) -> NamedSharding:
    """Examples in equal parts on all devices of a mesh, whatever its axes."""
    if examples % mesh.size:
        raise ValueError(
            f"train: the {mesh.size} devices must share a batch evenly, but it has {examples} examples; take a "
            f"batch_size that {mesh.size} divides, or fewer devices."
        )
    return NamedSharding(Mesh(mesh.devices.reshape(-1), ("examples",)), PartitionSpec("examples"))


def _check_task(
    models: dict[str, Apply], params: dict[str, Params], x: Array, y: Array, batch_size: int | None, key: Array | None
) -> None:
    """Refuse what cannot be trained."""
    if models.keys() != params.keys():
        raise ValueError(
            f"train: params must have the names of the models, {sorted(models)}, but came with {sorted(params)}."
        )
    for name, model in models.items():
        outputs = output_shape("train", model, params[name], x)
        if outputs.shape != y.shape:
            raise ValueError(
                f"train: y must have the shape of the outputs, {outputs.shape}, but came as {y.shape}; give one row of "
                "targets for each example."
            )
    if batch_size is not None and not 1 <= batch_size <= len(x):
        raise ValueError(
            f"train: batch_size must be between 1 and the number {len(x)} of examples, but came {batch_size}; None "
            "takes all in every step."
        )
    if (batch_size is None) != (key is None):
        raise ValueError("train: batch_size and key go together, but only one came; the key shuffles the examples.")


def _next_chunk(count: int, seconds: float) -> int:
    """How many steps to run before Python gets the next turn: at most twice as many as just now."""
    return max(1, min(2 * count, round(count * SECONDS_PER_CHUNK / max(seconds, 1e-6))))


def _compiled(record: Callable[[Params], Record], params: Params) -> tuple[Callable[[Params], Record], Record]:
    """The record as a compiled function of the parameters, and its shapes.

    The arrays that it closes over become arguments: XLA would else work out while compiling, slowly, what follows from
    them alone, as the network of a linearization at its starting point does.
    """
    program, shapes = jax.make_jaxpr(record, return_shape=True)(params)
    run, structure = _without_constants(program.jaxpr), jax.tree.structure(shapes)
    return lambda params: jax.tree.unflatten(structure, run(program.consts, jax.tree.leaves(params))), shapes


@lru_cache(maxsize=16)
def _without_constants(program: Jaxpr) -> Callable[[list[Array], list[Array]], list[Array]]:
    """A program compiled as a function of its constants too; the same record is traced to the same program."""
    return jax.jit(lambda constants, leaves: jaxpr_as_fun(ClosedJaxpr(program, constants))(*leaves))


def _check_finite(record: Record, step: int, task: _Task) -> None:
    """Report divergence as such."""
    if all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(record)):
        return
    raise FloatingPointError(
        f"train: records must stay finite, but at step {step} one is not: training has diverged; lower the learning "
        f"rate. {task.threshold()}"
    )


def _threshold(models: dict[str, Apply], params: dict[str, Params], x: Float[Array, "n ..."]) -> str:
    """The learning rate above which gradient descent on the squared loss diverges, at the start; from few examples."""
    (name, model), *_ = models.items()
    product = ntk_matvec(model, params[name], x[:THRESHOLD_EXAMPLES])
    shape = output_shape("train", model, params[name], x[:THRESHOLD_EXAMPLES])
    v = jnp.asarray(np.random.default_rng(0).normal(size=shape.shape), shape.dtype)
    for _ in range(20):  # power iteration
        largest = jnp.linalg.norm(v)
        v = product(v / largest)
    return (
        f"At the start gradient descent on the squared loss needs it below 2 n k / λ_max = {2 * v.size / largest:.2g}; "
        "heavy-ball momentum β allows 1 + β times that."
    )


def _recorded(records: Record, row: int, record: Record) -> Record:
    """The records with one more row."""

    def put(rows: np.ndarray, leaf: Array) -> np.ndarray:
        rows = np.array(rows)
        rows[row] = leaf
        return rows

    return jax.tree.map(put, records, record)


def _open(
    checkpoint: str | Path | None, save_every: float, task: _Task, state: _State, steps: Int[np.ndarray, " r"]
) -> Checkpoints | NoCheckpoints:
    """Where the run saves itself; the run is named by its compiled program and all that goes into it."""
    if checkpoint is None:
        return NoCheckpoints()
    key = None if task.key is None else jax.random.key_data(task.key)
    arguments = (task.models, task.x, task.y)
    program = task.advance.lower(state.params, state.optimizer_state, 0, 1, *arguments, task.key).as_text()
    return Checkpoints(checkpoint, fingerprint(program, state.params, *arguments, key, steps), save_every)
