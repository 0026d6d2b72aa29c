r"""The network that the theory solves: its Taylor expansion in the parameters, of first order or higher."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

Params = Any
Apply = Callable[[Params, Float[Array, "n ..."]], Float[Array, "n ..."]]


def linearize(apply: Apply, params0: Params) -> "Linearized":
    r"""Replace a network by its tangent at `params0`, linear in the parameters and not in the inputs.

    $$f^{\mathrm{lin}}(x; \theta) = f(x; \theta_0) + \nabla_\theta f(x; \theta_0)\,(\theta - \theta_0).$$

    The Jacobian is never formed: one forward-mode derivative gives both terms.

    Args:
        apply: the network, `apply(params, x)`: any pure function of a pytree of parameters and a batch of inputs.
        params0: $\theta_0$, where the tangent touches.

    Returns:
        $f^{\mathrm{lin}}$, with the signature of `apply`.

    Raises:
        ValueError: if a parameter is not a floating-point array.

    Example:
        It touches the network at `params0`:

        >>> import jax, widelinear as wl
        >>> net = wl.mlp(depth=1, width=8)
        >>> x = jax.random.normal(jax.random.key(0), (3, 5))
        >>> params0 = net.init(jax.random.key(1), x)
        >>> apply_lin = wl.linearize(net.apply, params0)
        >>> bool((apply_lin(params0, x) == net.apply(params0, x)).all())
        True

    Source: paper, eq. 5. Oracle: an explicit Jacobian, and a remainder of second order (`tests/test_linearize.py`).
    """
    check_floating("linearize", params0)
    return Linearized(apply, params0)


def check_floating(caller: str, params: Params) -> None:
    """Refuse parameters that have no derivative.

    Args:
        caller: the name of the function that asks, for the message.
        params: a pytree of arrays, or of their shapes.

    Raises:
        ValueError: if one is not a floating-point array.

    Example:
        >>> import jax.numpy as jnp
        >>> check_floating("here", {"w": jnp.ones(2)})

    Source: house rule. Oracle: integer parameters are named (`tests/test_models.py`).
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"{caller}: params must be floating-point arrays, but params{jax.tree_util.keystr(path)} is "
                f"{jnp.result_type(leaf)}; keep what is not trained out of params, in a closure of apply for example."
            )


@jax.tree_util.register_pytree_node_class
class Linearized:
    """What `linearize` returns: a function like `apply`, which can also be had for one batch alone.

    Args:
        apply: the network, `apply(params, x)`.
        params0: where the tangent touches.

    Example:
        >>> import jax.numpy as jnp
        >>> square = Linearized(lambda w, x: x @ w**2, jnp.ones((1, 1)))
        >>> square(jnp.full((1, 1), 3.0), jnp.ones((1, 1))).item()
        5.0

    Source: paper, eq. 5. Oracle: an explicit Jacobian (`tests/test_linearize.py`).
    """

    def __init__(self, apply: Apply, params0: Params) -> None:
        self.apply, self.params0 = apply, params0

    def __call__(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        outputs, change = jax.jvp(lambda p: self.apply(p, x), (self.params0,), (_difference(params, self.params0),))
        return outputs + change

    def tree_flatten(self) -> tuple[tuple[Params], Apply]:
        r"""Compiled functions take $\theta_0$ as an argument."""
        return (self.params0,), self.apply

    @classmethod
    def tree_unflatten(cls, apply: Apply, children: tuple[Params]) -> "Linearized":
        """The inverse of `tree_flatten`."""
        return cls(apply, *children)

    def on_batch(self, x: Float[Array, "n ..."]) -> Callable[[Params], Float[Array, "n ..."]]:
        r"""The same for one batch, $c + \nabla_\theta f_0\,\theta$: a function of the parameters.

        It keeps the network's activations at `params0`, so that a training step repeats no forward pass, and it is a
        pytree, so that compiled functions take it as an argument.
        """
        outputs, pull_back = jax.vjp(lambda p: self.apply(p, x), self.params0)
        return Partial(_affine, outputs - _pushed(pull_back, outputs, self.params0), pull_back)


def taylor_expand(apply: Apply, params0: Params, order: int) -> Apply:
    r"""The Taylor expansion of a network in its parameters, to any order.

    $$f^{(m)}(x; \theta) = \sum_{j=0}^{m} \frac{1}{j!}\,\nabla_\theta^j f(x; \theta_0)\,[\theta - \theta_0]^j.$$

    Args:
        apply: the network, `apply(params, x)`, differentiable `order` times.
        params0: $\theta_0$.
        order: $m$; 1 is `linearize`.

    Returns:
        $f^{(m)}$, with the signature of `apply`.

    Raises:
        ValueError: if the order is negative, or a parameter is not a floating-point array.

    Example:
        A cubic in the parameter is its own expansion of third order:

        >>> import jax.numpy as jnp
        >>> cube = taylor_expand(lambda w, x: x @ w**3, jnp.ones((1, 1)), order=3)
        >>> cube(jnp.full((1, 1), 2.0), jnp.ones((1, 1))).item()
        8.0

    Source: the expansion whose first order is paper, eq. 5.
    Oracle: polynomials, and the order of the remainder (`tests/test_linearize.py`).
    """
    if order < 0:
        raise ValueError(f"taylor_expand: order must be at least 0, but came {order}; 1 is the linearization.")
    check_floating("taylor_expand", params0)

    def expansion(params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        change = _difference(params, params0)

        def derivatives(p: Params, order: int) -> list[Array]:
            """The derivatives along the change, of orders 0 to `order`."""
            if order == 0:
                return [apply(p, x)]
            lower, higher = jax.jvp(lambda p: derivatives(p, order - 1), (p,), (change,))
            return [*lower, higher[-1]]

        value, *terms = (d / math.factorial(j) for j, d in enumerate(derivatives(params0, order)))
        return sum(terms, start=value)

    return expansion


def _difference(params: Params, params0: Params) -> Params:
    return jax.tree.map(lambda p, p0: p - p0, params, params0)


def _affine(constant: Array, pull_back: Callable[[Array], tuple[Params]], params: Params) -> Array:
    return constant + _pushed(pull_back, constant, params)


def _pushed(pull_back: Callable[[Array], tuple[Params]], outputs: Array, tangent: Params) -> Array:
    """J times a tangent vector, as the transpose of the pull-back, which has the activations."""
    (change,) = jax.linear_transpose(lambda c: pull_back(c)[0], outputs)(tangent)
    return change
