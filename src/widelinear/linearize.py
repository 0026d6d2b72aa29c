r"""The network that the theory solves: its first-order Taylor expansion in the parameters."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float

Params = Any
Apply = Callable[[Params, Float[Array, "n ..."]], Float[Array, "n ..."]]


def linearize(apply: Apply, params0: Params) -> Apply:
    r"""Replace a network by its tangent at `params0`, linear in the parameters and not in the inputs.

    $$f^{\mathrm{lin}}(x; \theta) = f(x; \theta_0) + \nabla_\theta f(x; \theta_0)\,(\theta - \theta_0).$$

    The Jacobian is never formed: one forward-mode derivative gives both terms.

    Args:
        apply: the network, `apply(params, x)`: any pure function of a pytree of parameters and a batch of inputs.
        params0: $\theta_0$, where the tangent touches.

    Returns:
        $f^{\mathrm{lin}}$, with the signature of `apply`.

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

    def apply_lin(params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        dparams = jax.tree.map(lambda p, p0: p - p0, params, params0)
        outputs, change = jax.jvp(lambda p: apply(p, x), (params0,), (dparams,))
        return outputs + change

    return apply_lin
