r"""From the kernel of one pair of inputs to matrices: in blocks, by symmetric halves, over all devices."""

import math
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, ArrayLike, Float

from widelinear.distances import half_squared_distances
from widelinear.kernels import HasKernelRule, Kernels, Needs, input_kernel
from widelinear.progress import progress

BLOCK_BYTES = 2**20  # of one block of one kernel, unless the user says otherwise: a few of them fit a core's cache


def kernel_matrix(
    net: HasKernelRule,
    x1: ArrayLike,
    x2: ArrayLike | None = None,
    *,
    batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> Kernels:
    r"""The kernels $\mathcal{K}$ and $\Theta$ of an infinitely wide network between all pairs of inputs.

    $$\mathcal{K}(x, x') = \lim_{n\to\infty} \mathbb{E}\big[f_0(x)\,f_0(x')\big], \qquad
      \Theta(x, x') = \lim_{n\to\infty} \nabla_\theta f_0(x)\cdot\nabla_\theta f_0(x').$$

    With several outputs both are these matrices times the identity over outputs. For a network in standard
    parameterization $\Theta$ is the limit of the tangent kernel over the width.

    The matrices are filled block by block, so that memory beyond the result is at most 15 arrays of one block:
    `batch_size`² pairs, times P numbers a pair for images of P sites, or P² if the network pools. Without `x2` only
    half of the blocks is computed. Rows are spread over the devices of `mesh`.

    Args:
        net: a network of `widelinear.nets`; its widths do not matter.
        x1: inputs, shape (n1, d), or images (n1, height, width, channels). The kernels have their dtype.
        x2: more inputs; by default `x1` again.
        batch_size: inputs on a side of a block; by default so many that a block has about 1 MB.
        mesh: the devices to use; by default all.

    Returns:
        `Kernels`: both matrices, shape (n1, n2), their rows sharded over the mesh.

    Raises:
        ValueError: if the inputs are not finite numbers of float32 or float64, or do not fit each other or the network.

    Example:
        >>> import jax, jax.numpy as jnp, widelinear as wl
        >>> net = wl.mlp(depth=2, width=8, activation=wl.relu, w_std=2**0.5)
        >>> x = jax.random.normal(jax.random.key(0), (3, 5))
        >>> nngp, ntk = wl.kernel_matrix(net, x)
        >>> nngp.shape, bool((jnp.diag(ntk) > jnp.diag(nngp)).all())
        ((3, 3), True)

        On several hosts each process runs the same lines on the same inputs, and holds the rows of its devices:

        >>> # jax.distributed.initialize()      # first, in every process
        >>> nngp, ntk = wl.kernel_matrix(net, x, mesh=jax.make_mesh((jax.device_count(),), ("rows",)))
        >>> len(ntk.addressable_shards) == jax.local_device_count()
        True

    Source: paper, eq. 12, S25–S35; §3.4 of its supplement's F for the standard parameterization.
    Oracle: frozen neural-tangents numbers, and finite networks (`tests/test_kernels.py`).
    """
    x1 = _checked("x1", x1)
    x2 = None if x2 is None else _checked("x2", x2)
    if x2 is not None and (x1.shape[1:] != x2.shape[1:] or x1.dtype != x2.dtype):
        raise ValueError(
            f"kernel_matrix: x1 and x2 must have the same number of features and one dtype, but x1 has {_features(x1)} "
            f"and x2 has {_features(x2)} ({x1.dtype} and {x2.dtype}); flatten and standardise them alike."
        )
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"kernel_matrix: batch_size must be at least 1, but came as {batch_size}; or leave it out.")
    devices = np.asarray(jax.devices()) if mesh is None else mesh.devices.reshape(-1)
    return _matrix(net, x1, x2, batch_size, Mesh(devices, ("rows",)))


def _features(x: Array) -> str:
    return " × ".join(map(str, x.shape[1:]))


def _checked(name: str, x: ArrayLike) -> Float[Array, "n *sites d"]:
    """The inputs as an array, or a sentence about what is wrong with them."""
    if jnp.result_type(x) not in (jnp.float32, jnp.float64):
        raise ValueError(
            f"kernel_matrix: {name} must be of dtype float32 or float64, but came as {jnp.result_type(x)}; convert and "
            "standardise it first, for example (x / 255 - mean) / std."
        )
    x = jnp.asarray(x)
    if x.ndim < 2 or 0 in x.shape[1:]:
        raise ValueError(
            f"kernel_matrix: {name} must have shape (inputs, features) or (inputs, sites …, channels), but came with "
            f"shape {x.shape}; add the missing axis, for example x[None] for one input."
        )
    if not isinstance(x, jax.core.Tracer) and not bool(jnp.isfinite(x).all()):
        raise ValueError(f"kernel_matrix: {name} must be finite, but contains NaN or infinity; clean the data first.")
    return x


class _Cut(NamedTuple):
    """Rows or columns, in runs of `length` (one for each device), each cut into `blocks` blocks of `block`."""

    length: int
    block: int
    blocks: int

    def start(self, index: Array) -> Array:
        """Where a block starts: the last of a run does not stick out but moves back, over the one before."""
        run, block = jnp.divmod(index.astype(jnp.int32), self.blocks)
        return run * self.length + jnp.minimum(block * self.block, self.length - self.block)

    def block_of(self, position: Array) -> Array:
        """The block that a row or column belongs to."""
        return position // self.length * self.blocks + jnp.minimum(
            position % self.length // self.block, self.blocks - 1
        )


class _Plan(NamedTuple):
    """How the matrix is filled: symmetric, each device goes half way round the circle of blocks from its own."""

    symmetric: bool
    rows: _Cut
    columns: _Cut
    mesh: Mesh

    @property
    def blocks(self) -> int:
        return self.rows.blocks * self.mesh.size

    @property
    def blocks_in_a_row(self) -> int:
        return self.blocks // 2 + 1 if self.symmetric else self.columns.blocks

    @property
    def mirrors_at_once(self) -> bool:
        return self.symmetric and self.mesh.size == 1


def _plan(needs: Needs, x1: Array, x2: Array | None, batch_size: int | None, mesh: Mesh) -> _Plan:
    sites = math.prod(x1.shape[1:-1])
    entries = sites**2 if needs.joint else sites
    batch_size = batch_size or max(1, math.isqrt(BLOCK_BYTES // (entries * x1.dtype.itemsize)))
    length = -(-len(x1) // mesh.size)
    # With an odd number of blocks, half way round the circle meets every pair of blocks once.
    rows = _cut(length, batch_size, odd=x2 is None and mesh.size == 1)
    return _Plan(x2 is None, rows, rows if x2 is None else _cut(len(x2), batch_size), mesh)


def _cut(length: int, batch_size: int, odd: bool = False) -> _Cut:
    count = -(-length // batch_size)
    count = min(count | 1, length) if odd else count
    return _Cut(length, -(-length // count), count)


def _matrix(net: HasKernelRule, x1: Array, x2: Array | None, batch_size: int | None, mesh: Mesh) -> Kernels:
    """The matrices, one row of blocks of every device at a time."""
    n1, n2 = len(x1), len(x1 if x2 is None else x2)
    if n1 == 0 or n2 == 0:
        return Kernels(jnp.zeros((n1, n2), x1.dtype), jnp.zeros((n1, n2), x1.dtype))
    needs = net.needs(Needs()) if hasattr(net, "needs") else Needs()
    plan = _plan(needs, x1, x2, batch_size, mesh)
    by_rows, everywhere = NamedSharding(mesh, P("rows")), NamedSharding(mesh, P())
    missing = plan.rows.length * mesh.size - n1
    padded = jnp.concatenate([x1, jnp.repeat(x1[-1:], missing, axis=0)]) if missing else x1
    rows, columns = jax.device_put(padded, by_rows), jax.device_put(padded if x2 is None else x2, everywhere)
    fill = _filler(net, needs, plan)
    kernels = Kernels(*(jnp.zeros((len(rows), len(columns)), x1.dtype, device=by_rows) for _ in Kernels._fields))
    for index in progress("kernel matrix", range(plan.rows.blocks), unit="row of blocks"):
        kernels = fill(kernels, rows, columns, jnp.asarray(index))
    if plan.symmetric and not plan.mirrors_at_once:
        kernels = _mirrored(kernels, plan)
    return kernels if kernels.ntk.shape == (n1, n2) else Kernels(*(kernel[:n1, :n2] for kernel in kernels))


def _filler(net: Any, needs: Needs, plan: _Plan) -> Any:
    """The compiled step; kept for the next call unless the network holds traced numbers (a user differentiates it)."""
    try:
        return _compiled_filler(net, needs, plan)
    except TypeError:
        return _compiled_filler.__wrapped__(net, needs, plan)


@lru_cache(maxsize=256)
def _compiled_filler(net: Any, needs: Needs, plan: _Plan) -> Any:
    if plan.mesh.size == 1:
        return jax.jit(partial(_fill, net, needs, plan, jnp.zeros((), int)), donate_argnums=0)

    def on_one_device(kernels: Kernels, rows: Array, columns: Array, index: Array) -> Kernels:
        return _fill(net, needs, plan, jax.lax.axis_index("rows"), kernels, rows, columns, index)

    inputs = (P("rows"), P("rows"), P(), P())
    on_all = jax.shard_map(on_one_device, mesh=plan.mesh, in_specs=inputs, out_specs=P("rows"), check_vma=False)
    return jax.jit(on_all, donate_argnums=0)


def _fill(
    net: HasKernelRule,
    needs: Needs,
    plan: _Plan,
    device: Array,
    kernels: Kernels,
    rows: Array,
    columns: Array,
    index: Array,
) -> Kernels:
    """Fill row `index` of the blocks that one device owns."""
    block_kernels = jax.checkpoint(partial(_block, net, needs))
    row = plan.rows.start(index)
    x1 = jax.lax.dynamic_slice_in_dim(rows, row, plan.rows.block)

    def fill_block(step: Array, kernels: Kernels) -> Kernels:
        other = (device * plan.rows.blocks + index + step) % plan.blocks if plan.symmetric else step
        column = plan.columns.start(other)
        x2 = jax.lax.dynamic_slice_in_dim(columns, column, plan.columns.block)
        kernels = _write(kernels, block_kernels(x1, x2), row, column)
        return _mirrored_block(kernels, plan, row, column) if plan.mirrors_at_once else kernels

    return jax.lax.fori_loop(0, plan.blocks_in_a_row, fill_block, kernels)


def _write(kernels: Kernels, block: Kernels, row: Array, column: Array) -> Kernels:
    return Kernels(
        *(jax.lax.dynamic_update_slice(whole, part, (row, column)) for whole, part in zip(kernels, block, strict=True))
    )


def _mirrored_block(kernels: Kernels, plan: _Plan, row: Array, column: Array) -> Kernels:
    """Write a block's transpose, read back from the result: XLA would compute a block anew to transpose it."""
    shape = (plan.rows.block, plan.columns.block)
    blocks = (jax.lax.dynamic_slice(kernel, (row, column), shape) for kernel in kernels)
    return _write(kernels, Kernels(*(block.T for block in blocks)), column, row)


def _block(net: HasKernelRule, needs: Needs, x1: Array, x2: Array) -> Kernels:
    """The kernels of all pairs of two small sets of inputs."""
    gaps = half_squared_distances(x1, x2) if x1.ndim == 2 else None

    def pair(x1: Array, x2: Array, gap: Array | None) -> Kernels:
        kernel = input_kernel(x1, x2, needs)
        out = net.kernel_rule(kernel if gap is None else kernel.with_gap(gap))
        if out.nngp.ndim > 0:
            raise ValueError(
                f"kernel_matrix: the network must have one output per input, but its output still has sites "
                f"{out.nngp.shape}; end it with Flatten() or GlobalAvgPool() and a Dense layer."
            )
        return Kernels(out.nngp, out.ntk)

    def pairs(gaps: Array | None) -> Kernels:
        return jax.vmap(jax.vmap(pair, in_axes=(None, 0, 0)), in_axes=(0, None, 0))(x1, x2, gaps)

    if gaps is None:
        return pairs(None)
    # XLA cuts a loop with two results at every layer; two loops with one result each take half the time.
    return Kernels(pairs(gaps).nngp, pairs(jax.lax.optimization_barrier(gaps)).ntk)


@partial(jax.jit, static_argnames="plan", donate_argnums=0)
def _mirrored(kernels: Kernels, plan: _Plan) -> Kernels:
    """Every block that was not computed is the transpose of one that was."""
    block = plan.rows.block_of(jnp.arange(len(kernels.nngp)))
    computed = (block[None, :] - block[:, None]) % plan.blocks <= plan.blocks // 2
    sharding = NamedSharding(plan.mesh, P("rows"))
    mirrored = (jnp.where(computed, kernel, kernel.T) for kernel in kernels)
    return Kernels(*(jax.lax.with_sharding_constraint(kernel, sharding) for kernel in mirrored))
