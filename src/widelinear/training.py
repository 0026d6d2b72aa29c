r"""Training any `apply(params, x)` with any optax optimizer, in one compiled loop, recorded as it goes."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from widelinear.checkpoints import Checkpoints, NoCheckpoints, fingerprint
from widelinear.linearize import Apply, Params
from widelinear.progress import progress

Loss = Callable[[Float[Array, "n k"], Float[Array, "n k"]], Float[Array, ""]]
Record = Any

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

    params: Params
    optimizer_state: Any
    records: Record


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
    apply: Apply,
    params: Params,
    x: Float[Array, "n ..."],
    y: Float[Array, "n k"],
    *,
    optimizer: optax.GradientTransformation,
    steps: Sequence[int] | Int[np.ndarray, " r"],
    record: Callable[[Params], Record],
    loss: Loss = mse_loss,
    checkpoint: str | Path | None = None,
    save_every: float = 60.0,
    label: str = "training",
) -> History:
    r"""Train on the full batch, and record at given steps.

    $$\theta_{i+1} = \theta_i + \text{update}\big(\nabla_\theta\,\ell(f(X; \theta_i), y)\big).$$

    Every step runs inside one compiled loop; Python only takes over to record, to show progress and to save.

    Args:
        apply: the model, `apply(params, x)`; its linearization trains the same way.
        params: where it starts.
        x: training inputs.
        y: training targets.
        optimizer: an optax optimizer, for example `optax.sgd(learning_rate)` for gradient descent.
        steps: increasing step numbers at which to record; the run ends at the last.
        record: a function of the parameters; any pytree of arrays.
        loss: `loss(outputs, y)`.
        checkpoint: a folder. A run that was killed continues from it, bit for bit, when called again in the same way.
        save_every: seconds between checkpoints.
        label: what the progress bar says.

    Returns:
        `History`: steps, stacked records, final parameters.

    Raises:
        ValueError: if the steps do not increase, or if the checkpoint belongs to another run.
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
    steps = np.asarray(steps)
    if len(steps) == 0 or steps[0] < 0 or (np.diff(steps) <= 0).any():
        raise ValueError(f"train: steps must be increasing and not negative, but came {steps.tolist()}.")
    advance, observe = _compiled_steps(apply, loss, optimizer), jax.jit(record)
    state = _State(params, optimizer.init(params), _empty_records(observe, params, len(steps)))
    saved = _open(checkpoint, save_every, advance, state, x, y, steps)
    with saved, progress(label, total=int(steps[-1])) as bar:
        step, state = saved.restore(state)
        chunk = 1
        for row, target in enumerate(steps):
            while step < target:
                count, began = min(chunk, int(target) - step), time.monotonic()
                trained = jax.block_until_ready(advance(state.params, state.optimizer_state, count, x, y))
                chunk = _next_chunk(count, time.monotonic() - began)
                step, state = step + count, state._replace(params=trained[0], optimizer_state=trained[1])
                bar.update(step - bar.n)
                saved.save(step, state)
            if step == target:  # otherwise it was recorded before the run was killed
                state = state._replace(records=_recorded(state.records, row, observe(state.params), step))
        saved.save(step, state, last=True)
    return History(steps, state.records, state.params)


def _compiled_steps(
    apply: Apply, loss: Loss, optimizer: optax.GradientTransformation
) -> Callable[..., tuple[Params, Any]]:
    """`count` training steps as one compiled loop. The data are arguments, so that they are not compiled in."""

    def step(carry: tuple[Params, Any], x: Float[Array, "n ..."], y: Float[Array, "n k"]) -> tuple[Params, Any]:
        params, optimizer_state = carry
        gradient = jax.grad(lambda p: loss(apply(p, x), y))(params)
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, params)
        return optax.apply_updates(params, updates), optimizer_state

    @jax.jit
    def advance(
        params: Params, optimizer_state: Any, count: Int[Array, ""], x: Float[Array, "n ..."], y: Float[Array, "n k"]
    ) -> tuple[Params, Any]:
        return jax.lax.fori_loop(0, count, lambda _, carry: step(carry, x, y), (params, optimizer_state))

    return advance


def _next_chunk(count: int, seconds: float) -> int:
    """How many steps to run before Python gets the next turn: at most twice as many as just now."""
    return max(1, min(2 * count, round(count * SECONDS_PER_CHUNK / max(seconds, 1e-6))))


def _empty_records(observe: Callable[[Params], Record], params: Params, rows: int) -> Record:
    return jax.tree.map(lambda r: np.zeros((rows, *r.shape), r.dtype), jax.eval_shape(observe, params))


def _recorded(records: Record, row: int, record: Record, step: int) -> Record:
    """The records with one more row, which must be finite."""
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(record)):
        raise FloatingPointError(
            f"train: records must stay finite, but at step {step} one is not: training has diverged; lower the "
            "learning rate (on squared loss a linear model needs it below 2 / λ_max of the tangent kernel)."
        )

    def put(rows: np.ndarray, leaf: Array) -> np.ndarray:
        rows = np.array(rows)
        rows[row] = leaf
        return rows

    return jax.tree.map(put, records, record)


def _open(
    checkpoint: str | Path | None,
    save_every: float,
    advance: Any,
    state: _State,
    x: Float[Array, "n ..."],
    y: Float[Array, "n k"],
    steps: Int[np.ndarray, " r"],
) -> Checkpoints | NoCheckpoints:
    """Where the run saves itself; the run is named by its compiled program and all that goes into it."""
    if checkpoint is None:
        return NoCheckpoints()
    program = advance.lower(state.params, state.optimizer_state, 1, x, y).as_text()
    return Checkpoints(checkpoint, fingerprint(program, state.params, x, y, steps), save_every)
