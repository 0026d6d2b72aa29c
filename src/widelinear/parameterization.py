r"""One network, two sets of coordinates: the NTK and the standard parameterization, and what trains them alike.

The NTK parameterization computes with $W = s\,\omega$ and trains $\omega$; the standard one trains $W$. For a linear
map of coordinates $\partial_\omega = s\,\partial_W$, so a step on $\omega$ moves $W$ by $s^2$ times what the
same step on $W$ would. Learning rates divided by $s^2$, layer by layer, undo that.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from widelinear.linearize import Params


def normal_params(
    init: Callable[[Array, Float[Array, "n ..."]], Params], key: Array, x: Float[Array, "n ..."]
) -> Params:
    r"""Random parameters of a network in NTK parameterization: one long draw, cut into layers.

    $$\theta_0 \sim \mathcal N(0, I).$$

    The law is that of `init`, which draws layer by layer; a compiled program with one draw is much smaller.

    Args:
        init: how the network draws parameters, `init(key, x)`; only the shapes of what it returns are used.
        key: a random key.
        x: inputs, for their shape.

    Returns:
        A pytree like `init(key, x)`, all of it standard normal. In the standard parameterization the scales of the
        layers would be lost: there draw these, and call `to_standard`.

    Example:
        >>> import jax, jax.numpy as jnp, widelinear as wl
        >>> params = normal_params(wl.mlp(depth=1, width=500).init, jax.random.key(0), jnp.ones((1, 100)))
        >>> weights = params["params"]["layers_0"]["w"]
        >>> weights.shape, round(float(weights.std()), 1)
        ((100, 500), 1.0)

    Source: paper, eq. 1. Oracle: shapes, types and moments of `init` (`tests/test_parameterization.py`).
    """
    shapes = jax.eval_shape(init, key, x)
    flat, cut = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))
    return cut(jax.random.normal(key, flat.shape, flat.dtype))


def ntk_scales(params: Params, *, w_std: float, b_std: float) -> Params:
    r"""The factors between the parameters of a network in NTK parameterization and its weights and biases.

    $$s_w = \frac{\sigma_w}{\sqrt{n_\mathrm{in}}}, \qquad s_b = \sigma_b.$$

    Args:
        params: parameters in NTK parameterization: leaves `w`, whose last axis counts the units, and `b`.
        w_std: $\sigma_w$ of every layer.
        b_std: $\sigma_b$.

    Returns:
        A pytree like `params`, of numbers.

    Raises:
        ValueError: if a leaf is neither `w` nor `b`.

    Example:
        >>> import jax.numpy as jnp
        >>> ntk_scales({"w": jnp.ones((3, 3, 4, 8)), "b": jnp.ones(8)}, w_std=3.0, b_std=0.1)
        {'b': 0.1, 'w': 0.5}

    Source: paper, eq. 1 and S36. Oracle: equal outputs in both parameterizations (`tests/test_parameterization.py`).
    """

    def scale(path: tuple[jax.tree_util.DictKey, ...], leaf: Float[Array, "..."]) -> float:
        name = path[-1].key
        if name not in ("w", "b"):
            raise ValueError(
                f"ntk_scales: parameters must be weights w and biases b, but came {jax.tree_util.keystr(path)}; give "
                "scales for it yourself."
            )
        return w_std / math.prod(leaf.shape[:-1]) ** 0.5 if name == "w" else b_std

    return jax.tree_util.tree_map_with_path(scale, params)


def to_standard(params: Params, scales: Params) -> Params:
    r"""The same network in the standard parameterization.

    $$W = s\,\omega.$$

    Args:
        params: $\omega$, parameters in NTK parameterization.
        scales: $s$, from `ntk_scales`.

    Returns:
        $W$, parameters of the same network built with `parameterization="standard"`.

    Example:
        >>> import jax.numpy as jnp
        >>> to_standard({"w": jnp.array([[2.0]])}, {"w": 0.5})["w"].item()
        1.0

    Source: paper, S36. Oracle: equal outputs (`tests/test_parameterization.py`).
    """
    return jax.tree.map(lambda p, s: s * p, params, scales)


def ntk_learning_rates(standard_rate: float, scales: Params) -> Params:
    r"""The learning rates, one for each parameter, that train the NTK parameterization as one rate trains the standard.

    $$\eta_w = \frac{n_\mathrm{in}}{\sigma_w^2}\,\eta_\mathrm{std}, \qquad
      \eta_b = \frac{1}{\sigma_b^2}\,\eta_\mathrm{std}.$$

    Args:
        standard_rate: $\eta_\mathrm{std}$; the paper's $\eta_0$ is the largest fan-in times this.
        scales: $s$, from `ntk_scales`; none may be 0.

    Returns:
        $\eta_\mathrm{std} / s^2$ for each parameter, for `sgd_with_rates`.

    Example:
        >>> ntk_learning_rates(0.1, {"w": 0.5, "b": 1.0})
        {'b': 0.1, 'w': 0.4}

    Source: paper, S37. Oracle: equal outputs at every step (`tests/test_parameterization.py`).
    """
    return jax.tree.map(lambda s: standard_rate / s**2, scales)


def sgd_with_rates(rates: Params, momentum: float | None = None) -> optax.GradientTransformation:
    r"""Gradient descent, or heavy-ball momentum, with a learning rate for each parameter.

    $$v \leftarrow \beta v + \nabla_\theta\ell, \qquad \theta_l \leftarrow \theta_l - \eta_l\,v_l.$$

    Args:
        rates: $\eta_l$, a pytree of numbers like the parameters.
        momentum: $\beta$; None is gradient descent.

    Returns:
        An optax optimizer.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> optimizer, params = sgd_with_rates({"w": 0.1, "b": 2.0}), {"w": jnp.ones(1), "b": jnp.ones(1)}
        >>> updates, _ = optimizer.update(params, optimizer.init(params))
        >>> updates["b"].item()
        -2.0

    Source: paper, S1 and S37. Oracle: `optax.sgd` where all rates are equal (`tests/test_parameterization.py`).
    """

    def descend(updates: Params, _: Params | None = None) -> Params:
        return jax.tree.map(lambda u, rate: jnp.asarray(-rate, u.dtype) * u, updates, rates)

    accumulate = optax.identity() if momentum is None else optax.trace(momentum)
    return optax.chain(accumulate, optax.stateless(descend))
