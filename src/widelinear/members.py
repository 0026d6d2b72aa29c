"""Many networks that differ in their initialization alone, trained at once."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int

from widelinear.checkpoints import fingerprint, owned_folder, saved_or_computed
from widelinear.costs import Method
from widelinear.empirical import Outputs, empirical_ntk
from widelinear.linearize import Apply, Params
from widelinear.loop import Advance, Loss, compiled_loop, hashable, models_on
from widelinear.progress import progress
from widelinear.training import History, Record, checked_steps, mse_loss


def train_ensemble(
    init: Callable[[Array, Float[Array, "n ..."]], Params],
    apply: Apply,
    key: Array,
    members: int,
    x: Float[Array, "n ..."],
    y: Float[Array, "n k"],
    *,
    optimizer: optax.GradientTransformation,
    steps: Sequence[int] | Int[np.ndarray, " r"],
    record: Callable[[Params], Record],
    loss: Loss = mse_loss,
    batch_size: int | None = None,
    mesh: Mesh | None = None,
    checkpoint: str | Path | None = None,
) -> History:
    r"""Train many initializations of one network on the full batch, in blocks that are spread over devices.

    $$\theta^{(a)}_0 = \text{init}(\text{key}_a), \qquad
      \theta^{(a)}_{i+1} = \theta^{(a)}_i + \text{update}\big(\nabla_\theta\,\ell(f(X; \theta^{(a)}_i), y)\big).$$

    Args:
        init: draws parameters, `init(key, x)`.
        apply: the network, `apply(params, x)`.
        key: folded with the number of a member; how many others there are, and where they run, changes none.
        members: how many networks.
        x: training inputs.
        y: training targets.
        optimizer: an optax optimizer.
        steps: increasing step numbers at which to record; the run ends at the last.
        record: a function of one member's parameters; any pytree of arrays. Parameters themselves are not kept.
        loss: `loss(outputs, y)`.
        batch_size: members trained together on each device, or on each core of a CPU, which bounds memory. By default 1
            on a CPU, whose matrix products are faster than batches of them, and 64 elsewhere.
        mesh: the devices to use; by default all.
        checkpoint: a folder. A run that was killed keeps its finished blocks there and goes on after them when called
            again in the same way, with the same members or with more.

    Returns:
        `History`: steps; records with the axes (r, members) in front; no parameters.

    Raises:
        ValueError: if there are no members, or the steps do not increase, or if the checkpoint belongs to another run.
        FloatingPointError: if a record is not finite.

    Example:
        >>> import jax, jax.numpy as jnp, optax, widelinear as wl
        >>> net, x, y = wl.mlp(depth=1, width=8), jnp.eye(3), jnp.ones((3, 1))
        >>> run = wl.train_ensemble(net.init, net.apply, jax.random.key(0), 5, x, y, optimizer=optax.sgd(0.1),
        ...                         steps=[0, 10], record=lambda params: net.apply(params, x))
        >>> run.records.shape
        (2, 5, 3, 1)

    Source: paper, §2.4 and Figure 2. Oracle: the members one by one (`tests/test_members.py`).
    """
    steps = checked_steps(steps)
    if members < 1 or (batch_size is not None and batch_size < 1):
        raise ValueError(
            f"train_ensemble: members and batch_size must be at least 1, but came {members} and {batch_size}."
        )
    batch_size = batch_size or (1 if jax.default_backend() == "cpu" else 64)
    mesh = Mesh(np.asarray(jax.devices() if mesh is None else mesh.devices).reshape(-1), ("members",))
    size, intervals = batch_size * mesh.size, np.diff(steps, prepend=0)
    shared = jax.device_put((key, (steps - intervals, intervals), models_on(x, {"": apply}, None), x, y))
    # Compiled before any thread starts: a thread would not see precision and the like set by `with`.
    program = _block(hashable(init), hashable(loss), optimizer, hashable(record), batch_size, mesh).lower(
        _numbers(0, size), *shared
    )
    block = program.compile()
    if checkpoint is not None:
        block = _saving(checkpoint, program, block, shared)
    firsts = range(0, members, size)
    with ThreadPoolExecutor(_at_a_time(mesh)) as pool:
        trained = pool.map(lambda first: jax.device_get(block(_numbers(first, size), *shared)), firsts)
        blocks = list(progress("ensemble", trained, total=len(firsts), unit="block of members"))
    records = jax.tree.map(lambda *parts: np.swapaxes(np.concatenate(parts)[:members], 0, 1), *blocks)
    _check_finite(records, steps)
    return History(steps, records, None)


def ensemble_ntk(
    init: Callable[[Array, Float[Array, "n ..."]], Params],
    apply: Apply,
    key: Array,
    members: int,
    x1: Float[Array, "n1 ..."],
    x2: Float[Array, "n2 ..."] | None = None,
    *,
    outputs: Outputs = "full",
    batch_size: int | None = None,
    method: Method | None = None,
) -> Float[Array, "members n1 n2 ..."]:
    r"""The empirical tangent kernels of the networks that `train_ensemble` starts from.

    $$\hat\Theta^{(a)}_0(x, x') = \nabla_\theta f(x; \theta^{(a)}_0) \cdot \nabla_\theta f(x'; \theta^{(a)}_0).$$

    Args:
        init: draws parameters, `init(key, x)`.
        apply: the network, `apply(params, x)`.
        key: that of `train_ensemble`.
        members: how many networks.
        x1: inputs.
        x2: more inputs; by default `x1` again.
        outputs: as in `empirical_ntk`.
        batch_size: as in `empirical_ntk`.
        method: as in `empirical_ntk`.

    Returns:
        The kernels, one after the other, each shaped as by `empirical_ntk`.

    Raises:
        ValueError: as in `empirical_ntk`.

    Example:
        >>> import jax, jax.numpy as jnp, widelinear as wl
        >>> net, x = wl.mlp(depth=1, width=8), jnp.eye(3)
        >>> wl.ensemble_ntk(net.init, net.apply, jax.random.key(0), 5, x, outputs="mean").shape
        (5, 3, 3)

    Source: paper, eq. 4. Oracle: the members one by one (`tests/test_members.py`).
    """

    def kernel(number: Int[Array, ""]) -> Float[Array, "n1 n2 ..."]:
        params = init(jax.random.fold_in(key, number), x1)
        return empirical_ntk(apply, params, x1, x2, outputs=outputs, batch_size=batch_size, method=method)

    return jax.jit(lambda numbers: jax.lax.map(kernel, numbers))(_numbers(0, members))


def _member(
    init: Callable[[Array, Array], Params],
    advance: Advance,
    optimizer: optax.GradientTransformation,
    record: Callable[[Params], Record],
) -> Callable[..., Record]:
    """A function that draws one member, trains it and returns its records, stacked."""

    def member(number: Int[Array, ""], key: Array, intervals: Any, models: Any, x: Array, y: Array) -> Record:
        def to_next_record(state: Any, interval: tuple[Int[Array, ""], Int[Array, ""]]) -> tuple[Any, Record]:
            state = advance(*state, *interval, models, x, y, None)
            return state, record(state[0][""])

        params = init(jax.random.fold_in(key, number), x)
        start = ({"": params}, {"": optimizer.init(params)})
        return jax.lax.scan(to_next_record, start, intervals)[1]

    return member


@lru_cache(maxsize=16)
def _block(
    init: Callable[[Array, Array], Params],
    loss: Loss,
    optimizer: optax.GradientTransformation,
    record: Callable[[Params], Record],
    batch_size: int,
    mesh: Mesh,
) -> Any:
    """Members by their numbers, each device its share of them; compiled once for all calls with the same functions."""
    member = _member(init, compiled_loop(loss, optimizer, None), optimizer, record)
    here, everywhere = PartitionSpec("members"), PartitionSpec()

    def on_one_device(numbers: Int[Array, " b"], *shared: Any) -> Record:
        if batch_size == 1:  # `vmap` of one network costs half as much again
            return jax.tree.map(lambda leaf: leaf[None], member(numbers[0], *shared))
        return jax.vmap(lambda number: member(number, *shared))(numbers)

    arguments = (here, *[everywhere] * 5)
    return jax.jit(jax.shard_map(on_one_device, mesh=mesh, in_specs=arguments, out_specs=here, check_vma=False))


def _numbers(first: int, size: int) -> Int[np.ndarray, " b"]:
    return np.arange(first, first + size, dtype=np.int32)


def _at_a_time(mesh: Mesh) -> int:
    """How many blocks: a compiled loop keeps a device busy, but not all cores of a CPU where its products are small."""
    return max(1, (os.cpu_count() or 1) // mesh.size) if jax.default_backend() == "cpu" else 1


def _saving(folder: str | Path, program: Any, block: Any, shared: tuple[Any, ...]) -> Callable[..., Record]:
    """The block, reading from the folder what is there; the run is named by its program and all that goes into it."""
    key, *others = shared
    home = owned_folder(folder, fingerprint(program.as_text(), jax.random.key_data(key), *others))

    def saved(numbers: Int[np.ndarray, " b"], *shared: Any) -> Record:
        file = home / f"members-from-{numbers[0]}.npz"
        return saved_or_computed(file, lambda: block(numbers, *shared), program.out_info)

    return saved


def _check_finite(records: Record, steps: Int[np.ndarray, " r"]) -> None:
    for leaf in jax.tree.leaves(records):
        finite = np.isfinite(leaf).reshape(*leaf.shape[:2], -1).all(axis=-1)
        if not finite.all():
            row, number = np.argwhere(~finite)[0]
            raise FloatingPointError(
                f"train_ensemble: records must stay finite, but at step {steps[row]} that of member {number} is not: "
                "training has diverged; lower the learning rate."
            )
