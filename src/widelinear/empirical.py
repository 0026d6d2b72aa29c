r"""The kernels of one finite network, for any `apply(params, x)`."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from widelinear.costs import Cost, Method, cheapest, method_costs
from widelinear.linearize import Apply, Params
from widelinear.models import frozen, output_shape
from widelinear.progress import progress
from widelinear.structured import (
    Directions,
    OuterProducts,
    Pairing,
    Plan,
    kernel_contribution,
    plan_gradients,
    planned_gradients,
)

Outputs = str | int
_Kernel = Float[Array, "n1 n2 ..."]
_Block = Callable[[Array, Array | None], Any]  # from inputs to a kernel, or to a pytree of kernels

MEMORY = 2.0**31  # bytes of temporaries above which a method with more operations is chosen
LARGE = 256  # rows of a symmetric matrix above which a quarter of it is worth saving


def empirical_ntk(
    apply: Apply,
    params: Params,
    x1: Float[Array, "n1 ..."],
    x2: Float[Array, "n2 ..."] | None = None,
    *,
    outputs: Outputs = "full",
    batch_size: int | None = None,
    method: Method | None = None,
    mesh: Mesh | None = None,
) -> _Kernel:
    r"""The empirical tangent kernel between all pairs of inputs.

    $$\hat\Theta(x, x')_{ij} = \nabla_\theta f_i(x) \cdot \nabla_\theta f_j(x').$$

    Args:
        apply: the network, `apply(params, x)`, with outputs of shape (n, k). Each example is seen by itself.
        params: its parameters.
        x1: inputs.
        x2: more inputs; by default `x1` again, and only half of a symmetric kernel's blocks are computed.
        outputs: "full" for every pair of outputs; "diagonal" for $i = j$; "mean" for the mean of the diagonal; a number
            for one output; "pseudo" for the kernel of the outputs' sum, $\frac1k\sum_{ij}\hat\Theta_{ij}$.
        batch_size: bounds memory: blocks of so many inputs on either side. Gradients are computed anew for each block,
            so take the largest that fits. By default one block.
        method: "structured" (outer products, `parameter_gradients`), "jacobian" (explicit gradients) or "vector
            products" (gradients of one example pushed forward through all of `x1`). By default the one with the
            fewest operations by `ntk_cost` that needs less than 2 GiB.
        mesh: devices to spread the rows of each block over; by default everything stays where `params` and inputs are.

    Returns:
        $\hat\Theta$ in the dtype of the outputs: shape (n1, n2, k, k) for "full", (n1, n2, k) for "diagonal", else
        (n1, n2).

    Raises:
        ValueError: if the network is not one (see `output_shape`), or if an option is not one of the above.

    Example:
        >>> import jax, widelinear as wl
        >>> net = wl.mlp(depth=1, width=8, outputs=2)
        >>> x = jax.random.normal(jax.random.key(0), (3, 5))
        >>> params = net.init(jax.random.key(1), x)
        >>> wl.empirical_ntk(net.apply, params, x).shape, wl.empirical_ntk(net.apply, params, x, outputs="mean").shape
        ((3, 3, 2, 2), (3, 3))

    Source: paper, eq. 4. Oracle: explicit Jacobians, `oracles.jacobian_ntk` (`tests/test_empirical.py`).
    """
    directions, pairing = _directions(output_shape("empirical_ntk", apply, params, x1), outputs)
    if method is None:
        method = _cheapest(apply, outputs, batch_size, *frozen(params, x1, x2))
    if method not in METHODS:
        raise ValueError(f"empirical_ntk: method must be one of {', '.join(METHODS)}, but came {method!r}.")

    if mesh is not None:
        mesh = Mesh(mesh.devices.reshape(-1), ("rows",))
        params, x2 = jax.device_put((params, x2), NamedSharding(mesh, PartitionSpec()))

    def block(x1: Float[Array, "n1 ..."], x2: Float[Array, "n2 ..."] | None) -> _Kernel:
        rows = x1 if mesh is None else _spread(x1, mesh)
        kernel = METHODS[method](apply, params, rows, x2, directions, pairing)
        return kernel if mesh is None else kernel[: len(x1), : len(x1 if x2 is None else x2)]

    kernel = _by_blocks(block, x1, x2, batch_size)
    return kernel / len(directions) if outputs == "mean" else kernel


def empirical_ntk_terms(
    apply: Apply,
    params: Params,
    x1: Float[Array, "n1 ..."],
    x2: Float[Array, "n2 ..."] | None = None,
    *,
    outputs: Outputs = "full",
    batch_size: int | None = None,
    group: Callable[[tuple[Any, ...]], str] | None = None,
) -> dict[str, _Kernel]:
    r"""What each layer, or any other group of parameters, contributes to the empirical tangent kernel.

    $$\hat\Theta = \sum_l \hat\Theta^l, \qquad
      \hat\Theta^l(x, x')_{ij} = \nabla_{\theta^l} f_i(x) \cdot \nabla_{\theta^l} f_j(x').$$

    Args:
        apply: the network, `apply(params, x)`.
        params: its parameters.
        x1: inputs.
        x2: more inputs; by default `x1` again.
        outputs: as in `empirical_ntk`.
        batch_size: as in `empirical_ntk`.
        group: names the group of a parameter from its path in `params`; by default the path without its last key, which
            is the layer.

    Returns:
        $\hat\Theta^l$ by the name of the group, each shaped as the whole.

    Raises:
        ValueError: as in `empirical_ntk`.

    Example:
        >>> import jax, widelinear as wl
        >>> net = wl.mlp(depth=1, width=8)
        >>> x = jax.random.normal(jax.random.key(0), (3, 5))
        >>> params = net.init(jax.random.key(1), x)
        >>> list(wl.empirical_ntk_terms(net.apply, params, x))
        ['params/layers_0', 'params/layers_2']

    Source: paper, eq. 4, the sum over layers.
    Oracle: the kernel with all other layers frozen (`tests/test_empirical.py`).
    """
    directions, pairing = _directions(output_shape("empirical_ntk_terms", apply, params, x1), outputs)
    group = group or (lambda path: jax.tree_util.keystr(path[:-1], simple=True, separator="/"))
    names = tuple(group(path) for path, _ in jax.tree_util.tree_leaves_with_path(params))

    def block(x1: Float[Array, "n1 ..."], x2: Float[Array, "n2 ..."] | None) -> dict[str, _Kernel]:
        return _structured(apply, params, x1, x2, directions, pairing, names)

    kernels = _by_blocks(block, x1, x2, batch_size)
    return {name: kernels[name] / len(directions) if outputs == "mean" else kernels[name] for name in kernels}


def empirical_nngp(
    apply: Apply, params: Params, x1: Float[Array, "n1 ..."], x2: Float[Array, "n2 ..."] | None = None
) -> Float[Array, "n1 n2"]:
    r"""The second moment of one network's outputs, the average over its outputs in place of random parameters.

    $$\hat{\mathcal K}(x, x') = \frac1k \sum_{i=1}^k f_i(x)\,f_i(x').$$

    Args:
        apply: the network, `apply(params, x)`. Give it the hidden layers alone for the covariance of a wide layer.
        params: its parameters.
        x1: inputs.
        x2: more inputs; by default `x1` again.

    Returns:
        $\hat{\mathcal K}$, shape (n1, n2).

    Raises:
        ValueError: if the network is not one (see `output_shape`).

    Example:
        >>> import jax.numpy as jnp
        >>> empirical_nngp(lambda w, x: x @ w, jnp.ones((2, 4)), jnp.eye(2)).tolist()
        [[1.0, 1.0], [1.0, 1.0]]

    Source: paper, eq. 12. Oracle: a loop over outputs, and `kernel_matrix` (`tests/test_empirical.py`).
    """
    outputs = output_shape("empirical_nngp", apply, params, x1).shape[1]
    f1 = apply(params, x1)
    f2 = f1 if x2 is None else apply(params, x2)
    return f1 @ f2.T / outputs


def ntk_matvec(
    apply: Apply, params: Params, x: Float[Array, "n ..."]
) -> Callable[[Float[Array, "n k"]], Float[Array, "n k"]]:
    r"""The empirical tangent kernel as a linear map, which needs no more memory than a training step.

    $$v \mapsto \hat\Theta(X, X)\,v = J\,(J^T v).$$

    Args:
        apply: the network, `apply(params, x)`.
        params: its parameters.
        x: inputs.

    Returns:
        A function from (n, k) to (n, k), compiled; it keeps the network's activations.

    Raises:
        ValueError: if the network is not one (see `output_shape`).

    Example:
        The largest eigenvalue, by Lanczos:

        >>> import jax, numpy as np, widelinear as wl
        >>> from scipy.sparse.linalg import LinearOperator, eigsh
        >>> net, x = wl.mlp(depth=1, width=8), jax.random.normal(jax.random.key(0), (6, 5))
        >>> params = net.init(jax.random.key(1), x)
        >>> product = ntk_matvec(net.apply, params, x)
        >>> operator = LinearOperator((6, 6), lambda v: np.asarray(product(v.reshape(6, 1))).ravel(), dtype=x.dtype)
        >>> largest = eigsh(operator, k=1, return_eigenvectors=False)
        >>> ntk = wl.empirical_ntk(net.apply, params, x, outputs=0)
        >>> bool(np.allclose(largest, np.linalg.eigvalsh(ntk)[-1], rtol=1e-4))
        True

    Source: paper, eq. 4. Oracle: the kernel times the vector (`tests/test_empirical.py`).
    """
    output_shape("ntk_matvec", apply, params, x)
    _, pull_back = jax.vjp(lambda p: apply(p, x), params)
    return partial(_push_pull, pull_back)


@jax.jit
def _push_pull(pull_back: Callable[[Array], tuple[Params]], v: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """Jᵀ, then its transpose. The activations are in `pull_back`, an argument: nothing is compiled in."""
    (pushed,) = jax.linear_transpose(lambda u: pull_back(u)[0], v)(pull_back(v)[0])
    return pushed


def ntk_cost(
    apply: Apply,
    params: Params,
    x1: Float[Array | jax.ShapeDtypeStruct, "n1 ..."],
    x2: Float[Array | jax.ShapeDtypeStruct, "n2 ..."] | None = None,
    *,
    outputs: Outputs = "full",
) -> dict[Method, Cost]:
    """What `empirical_ntk` would cost in one block, by each method; nothing is computed.

    Args:
        apply: the network, `apply(params, x)`.
        params: its parameters, or their shapes (`jax.ShapeDtypeStruct`).
        x1: inputs, or their shape.
        x2: more inputs, or their shape; None for `x1` again.
        outputs: as in `empirical_ntk`.

    Returns:
        A `Cost` for each method: operations, and bytes of temporary memory.

    Raises:
        ValueError: if the network is not one (see `output_shape`).

    Example:
        >>> import jax, widelinear as wl
        >>> net, x = wl.mlp(depth=3, width=512, outputs=10), jax.ShapeDtypeStruct((128, 784), "float32")
        >>> costs = wl.ntk_cost(net.apply, jax.eval_shape(net.init, jax.random.key(0), x), x)
        >>> costs["jacobian"].bytes > 100 * costs["structured"].bytes
        True

    Source: counted from shapes. Oracle: XLA's analysis of the compiled program (`tests/test_costs.py`).
    """
    directions, pairing = _directions(output_shape("ntk_cost", apply, params, x1), outputs)
    return method_costs(apply, params, x1, x2, directions, pairing)


def _directions(output: jax.ShapeDtypeStruct, outputs: Outputs) -> tuple[Float[np.ndarray, "q k"], Pairing]:
    """Which combinations of outputs are differentiated, and how they are paired."""
    number = output.shape[1]
    identity = np.eye(number, dtype=output.dtype)
    if outputs in ("full", "diagonal", "mean"):
        pairings: dict[str | int, Pairing] = {"full": "full", "diagonal": "diagonal", "mean": "trace"}
        return identity, pairings[outputs]
    if outputs == "pseudo":
        return np.full((1, number), number**-0.5, output.dtype), "trace"
    if isinstance(outputs, int) and 0 <= outputs < number:
        return identity[outputs : outputs + 1], "trace"
    raise ValueError(
        "outputs: expected full, diagonal, mean, pseudo or the number of one output, from 0 to "
        f"{number - 1}, but came {outputs!r}."
    )


@lru_cache(maxsize=256)
def _cheapest(
    apply: Apply, outputs: Outputs, batch_size: int | None, structure: Any, shapes: tuple[Any, ...]
) -> Method:
    params, *xs = jax.tree.unflatten(structure, shapes)
    blocks = [x and x.update(shape=(min(x.shape[0], batch_size or x.shape[0]), *x.shape[1:])) for x in xs]
    return cheapest(ntk_cost(apply, params, *blocks, outputs=outputs), MEMORY)


@lru_cache(maxsize=256)
def _plan(apply: Apply, pairing: Pairing, structure: Any, shapes: tuple[Any, ...]) -> Plan:
    params, xs, directions = jax.tree.unflatten(structure, shapes)
    return plan_gradients(apply, params, xs, directions, pairing)


def _by_blocks(
    block: _Block, x1: Float[Array, "n1 ..."], x2: Float[Array, "n2 ..."] | None, batch_size: int | None
) -> Any:
    """A kernel, or a pytree of kernels, put together from blocks of `batch_size` inputs on either side."""
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, but came {batch_size}; None is one block.")
    columns = x1 if x2 is None else x2
    if batch_size is None or batch_size >= max(len(x1), len(columns)):
        return block(x1, x2)
    blocks: dict[tuple[int, int], Any] = {}
    row_blocks, column_blocks = _slices(len(x1), batch_size), _slices(len(columns), batch_size)
    for i, (row, _) in enumerate(progress("empirical kernel", row_blocks, unit="row of blocks")):
        for j, (column, _) in enumerate(column_blocks if x2 is not None else row_blocks[:i]):
            blocks[i, j] = block(x1[row], columns[column])
            if x2 is None:
                blocks[j, i] = jax.tree.map(_mirrored, blocks[i, j])
        if x2 is None:
            blocks[i, i] = block(x1[row], None)

    def assembled(*kernels: Array) -> Array:
        of = dict(zip(blocks, kernels, strict=True))
        whole = [
            jnp.concatenate([of[i, j][old:, old_:] for j, (_, old_) in enumerate(column_blocks)], axis=1)
            for i, (_, old) in enumerate(row_blocks)
        ]
        return jnp.concatenate(whole)

    return jax.tree.map(assembled, *blocks.values())


def _spread(x: Float[Array, "n ..."], mesh: Mesh) -> Float[Array, "n_ ..."]:
    """Inputs over all devices of a mesh, the first repeated until each device has as many: their rows are dropped."""
    rows = np.arange(-(-len(x) // mesh.size) * mesh.size) % len(x)
    return jax.device_put(x[rows], NamedSharding(mesh, PartitionSpec("rows")))


def _slices(length: int, size: int) -> list[tuple[slice, int]]:
    """Slices of one size that cover the length, for one compilation; and how many items the one before has had."""
    starts = [min(start, max(length - size, 0)) for start in range(0, length, size)]
    return [(slice(start, start + size), size * i - start) for i, start in enumerate(starts)]


def _mirrored(kernel: Float[Array, "n1 n2 ..."]) -> Float[Array, "n2 n1 ..."]:
    """The kernel with its two sets of inputs exchanged: outputs change places too."""
    return jnp.transpose(kernel, (1, 0, 3, 2) if kernel.ndim == 4 else (1, 0, *range(2, kernel.ndim)))


def _structured(
    apply: Apply,
    params: Params,
    x1: Float[Array, "n1 ..."],
    x2: Float[Array, "n2 ..."] | None,
    directions: Directions,
    pairing: Pairing,
    names: tuple[str, ...] | None = None,
) -> Any:
    """From outer products; with `names`, one for each parameter, what each name contributes."""
    xs = [x1] if x2 is None else [x1, x2]
    plan = _plan(apply, pairing, *frozen(params, xs, directions))
    if plan.rows >= max(map(len, xs)):
        return _at_once(apply, params, xs, directions, pairing, plan, names)

    def in_turn(x: Float[Array, "n ..."]) -> list[OuterProducts]:
        # Separate programs, not a loop in one: XLA's convolutions are slow inside a loop on a CPU.
        parts = [
            jax.tree.map(lambda leaf, old=old: leaf[old:], _planned_gradients(apply, params, x[rows], directions, plan))
            for rows, old in _slices(len(x), plan.rows)
        ]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)

    return _contracted([in_turn(x) for x in xs], pairing, names)


_planned_gradients = jax.jit(planned_gradients, static_argnames=("apply", "plan"))


@partial(jax.jit, static_argnames=("apply", "pairing", "plan", "names"))
def _at_once(
    apply: Apply,
    params: Params,
    xs: list[Array],
    directions: Directions,
    pairing: Pairing,
    plan: Plan,
    names: tuple[str, ...] | None,
) -> _Kernel | dict[str, _Kernel]:
    """As one program, for a layer's weight and bias to share the Gram matrix of their cotangents."""
    return _contracted([planned_gradients(apply, params, x, directions, plan) for x in xs], pairing, names)


@partial(jax.jit, static_argnames=("pairing", "names"))
def _contracted(
    gradients: list[list[OuterProducts]], pairing: Pairing, names: tuple[str, ...] | None
) -> _Kernel | dict[str, _Kernel]:
    """Summed over parameters; a large symmetric kernel from three quarters of it."""

    def block(rows: slice, columns: slice) -> _Kernel | dict[str, _Kernel]:
        g1, g2 = _of_examples(gradients[0], rows), _of_examples(gradients[-1], columns)
        terms = [_inputs_first(kernel_contribution(*pair, pairing)) for pair in zip(g1, g2, strict=True)]
        if names is None:
            return jnp.asarray(sum(terms))
        return {name: sum(t for t, n in zip(terms, names, strict=True) if n == name) for name in dict.fromkeys(names)}

    (number, directions), whole = gradients[0][0].cotangents.shape[:2], slice(None)
    if len(gradients) == 2 or number * (directions if pairing == "full" else 1) <= LARGE:
        return block(whole, whole)
    first, second = slice(number // 2), slice(number // 2, None)
    return jax.tree.map(_symmetric, block(first, whole), block(second, second))


def _symmetric(upper: Float[Array, "h n ..."], corner: Float[Array, "m m ..."]) -> Float[Array, "n n ..."]:
    """A symmetric kernel from its first rows and its last corner."""
    lower = _mirrored(upper[:, len(upper) :])
    return jnp.concatenate([upper, jnp.concatenate([lower, corner], axis=1)])


def _of_examples(gradients: list[OuterProducts], rows: slice) -> list[OuterProducts]:
    return jax.tree.map(lambda leaf: leaf[rows], gradients)


@partial(jax.jit, static_argnames=("apply", "pairing"))
def _jacobian(
    apply: Apply,
    params: Params,
    x1: Float[Array, "n1 ..."],
    x2: Float[Array, "n2 ..."] | None,
    directions: Directions,
    pairing: Pairing,
) -> _Kernel:
    """Explicit gradients at all inputs, contracted parameter by parameter."""

    def gradients(x: Float[Array, "n ..."]) -> list[Float[Array, "n q p"]]:
        leaves = jax.tree.leaves(jax.vmap(lambda x: _gradients(apply, params, x, directions))(x))
        return [leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves]

    g1 = gradients(x1)
    g2 = g1 if x2 is None else gradients(x2)
    contraction = {"full": "aqp,brp->aqbr", "diagonal": "aqp,bqp->abq", "trace": "aqp,bqp->ab"}[pairing]
    terms = [jnp.einsum(contraction, *leaves) for leaves in zip(g1, g2, strict=True)]
    return _inputs_first(jnp.asarray(sum(terms)))


@partial(jax.jit, static_argnames=("apply", "pairing"))
def _vector_products(
    apply: Apply,
    params: Params,
    x1: Float[Array, "n1 ..."],
    x2: Float[Array, "n2 ..."] | None,
    directions: Directions,
    pairing: Pairing,
) -> _Kernel:
    """One input of `x2` after the other: its gradients are pushed forward through all of `x1`."""

    def column(x: Float[Array, "..."]) -> Float[Array, "n1 ..."]:
        push = jax.vmap(lambda g: jax.jvp(lambda p: apply(p, x1), (params,), (g,))[1])
        changes = jnp.einsum("rak,qk->aqr", push(_gradients(apply, params, x, directions)), directions)
        return {"full": changes, "diagonal": _diagonal(changes), "trace": _diagonal(changes).sum(-1)}[pairing]

    return jnp.moveaxis(jax.lax.map(column, x1 if x2 is None else x2), 0, 1)


def _gradients(apply: Apply, params: Params, x: Float[Array, "..."], directions: Directions) -> Params:
    """Explicit gradients at one example, in every direction."""
    _, pull_back = jax.vjp(lambda p: apply(p, x[None])[0], params)
    return jax.vmap(pull_back)(directions)[0]


def _diagonal(matrices: Float[Array, "*n q q"]) -> Float[Array, "*n q"]:
    return jnp.diagonal(matrices, axis1=-2, axis2=-1)


def _inputs_first(kernel: Float[Array, "..."]) -> _Kernel:
    """(n1, q, n2, q) becomes (n1, n2, q, q)."""
    return jnp.transpose(kernel, (0, 2, 1, 3)) if kernel.ndim == 4 else kernel


METHODS: dict[str, Any] = {"structured": _structured, "jacobian": _jacobian, "vector products": _vector_products}
