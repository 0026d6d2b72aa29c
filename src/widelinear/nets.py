r"""Finite networks in Flax, each with its infinite-width limit.

A layer has two methods: `__call__(x)`, the finite layer, and `kernel_rule(kernel)`, what it does to the kernels when
its width is infinite. A Linen module is an architecture without weights, so the same object stands for both.
Parameters are drawn in the dtype of the inputs: float64 inputs make a float64 network.

This is the only file that knows Flax. Everything else takes `apply(params, x)`; here that is `net.apply`, with
`params = net.init(key, x)`.
"""

from collections.abc import Sequence

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from widelinear.activations import Activation, relu
from widelinear.kernels import Kernel


class Dense(nn.Module):
    r"""A fully connected layer in the NTK parameterization.

    $$h = \frac{\sigma_w}{\sqrt{n_\mathrm{in}}}\,x\,\omega + \sigma_b\,\beta, \qquad
      \omega_{ij}, \beta_j \sim \mathcal{N}(0, 1),$$

    with $\omega$ and $\beta$ the trainable parameters `w` and `b`. In the infinite-width limit

    $$\mathcal{K} \leftarrow \sigma_w^2\,\mathcal{K} + \sigma_b^2, \qquad
      \Theta \leftarrow \mathcal{K}_\mathrm{new} + \sigma_w^2\,\Theta.$$

    Args:
        features: width $n$ of the layer.
        w_std: $\sigma_w$.
        b_std: $\sigma_b$; 0 means a layer without bias.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> layer = Dense(3, w_std=1.5, b_std=0.1)
        >>> params = layer.init(jax.random.key(0), jnp.ones((2, 4)))
        >>> layer.apply(params, jnp.ones((2, 4))).shape
        (2, 3)

    Source: paper, eq. 1; S25–S27 and S28–S35. Oracle: convergence in width (`tests/test_layers_agree.py`).
    """

    features: int
    w_std: float = 1.0
    b_std: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n features"]:
        """The finite layer."""
        fan_in = x.shape[-1]
        w = self.param("w", jax.random.normal, (fan_in, self.features), x.dtype)
        h = self.w_std / fan_in**0.5 * (x @ w)
        if self.b_std == 0:
            return h
        b = self.param("b", jax.random.normal, (self.features,), x.dtype)
        return h + self.b_std * b.reshape((1,) * (h.ndim - 1) + (-1,))

    def kernel_rule(self, kernel: Kernel) -> Kernel:
        """The infinite layer."""
        nngp, var1, var2 = (self.w_std**2 * k + self.b_std**2 for k in (kernel.nngp, kernel.var1, kernel.var2))
        return Kernel(nngp, nngp + self.w_std**2 * kernel.ntk, var1, var2)


class Activate(nn.Module):
    r"""An activation function, applied to every unit.

    $$\mathcal{K} \leftarrow \mathcal{T}(\mathcal{K}), \qquad
      \Theta \leftarrow \dot{\mathcal{T}}(\mathcal{K})\,\Theta.$$

    Args:
        activation: an `Activation`: the function with its dual maps.

    Example:
        >>> import jax.numpy as jnp
        >>> Activate(relu).apply({}, jnp.array([-1.0, 2.0])).tolist()
        [0.0, 2.0]

    Source: paper, S26–S35. Oracle: convergence in width (`tests/test_layers_agree.py`).
    """

    activation: Activation

    def __call__(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """The finite layer."""
        return self.activation.phi(x)

    def kernel_rule(self, kernel: Kernel) -> Kernel:
        """The infinite layer."""
        dual, dual_dot = self.activation.dual, self.activation.dual_dot
        nngp, ntk, var1, var2 = kernel
        return Kernel(
            nngp=dual(nngp, var1, var2),
            ntk=dual_dot(nngp, var1, var2) * ntk,
            var1=dual(var1, var1, var1),
            var2=dual(var2, var2, var2),
        )


class Serial(nn.Module):
    r"""Layers one after the other.

    Args:
        layers: the layers, first to last.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = Serial([Dense(8), Activate(relu), Dense(1)])
        >>> params = net.init(jax.random.key(0), jnp.ones((2, 4)))
        >>> net.apply(params, jnp.ones((2, 4))).shape
        (2, 1)

    Source: paper, eq. 1. Oracle: convergence in width (`tests/test_layers_agree.py`).
    """

    layers: Sequence[nn.Module]

    def __post_init__(self) -> None:
        self.layers = tuple(self.layers)  # a tuple is hashable, so that a network can be a static argument of `jit`
        super().__post_init__()

    def __call__(self, x: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        """The finite network."""
        for layer in self.layers:
            x = layer(x)
        return x

    def kernel_rule(self, kernel: Kernel) -> Kernel:
        """The infinite network."""
        for layer in self.layers:
            kernel = layer.kernel_rule(kernel)
        return kernel


def mlp(
    *,
    depth: int,
    width: int,
    outputs: int = 1,
    activation: Activation = relu,
    w_std: float = 1.0,
    b_std: float = 0.0,
) -> Serial:
    r"""The paper's fully connected network: `depth` hidden layers of one width, and a linear readout.

    $$h^{l+1} = \frac{\sigma_w}{\sqrt{n_l}}\,x^l\,\omega^{l+1} + \sigma_b\,\beta^{l+1}, \qquad
      x^{l+1} = \phi(h^{l+1}).$$

    Args:
        depth: number $L$ of hidden layers.
        width: number $n$ of units in each.
        outputs: number $k$ of outputs.
        activation: $\phi$.
        w_std: $\sigma_w$ of every layer, the readout included.
        b_std: $\sigma_b$ likewise.

    Returns:
        A `Serial` of `depth + 1` `Dense` layers with activations between them.

    Raises:
        ValueError: if a size is not at least 1 (depth: 0).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = mlp(depth=5, width=16, w_std=2**0.5, b_std=0.1**0.5)
        >>> params = net.init(jax.random.key(0), jnp.ones((2, 3)))
        >>> net.apply(params, jnp.ones((2, 3))).shape, len(params["params"])
        ((2, 1), 6)

    Source: paper, eq. 1. Oracle: frozen neural-tangents numbers (`tests/test_kernels.py`).
    """
    if depth < 0 or width < 1 or outputs < 1:
        raise ValueError(
            f"mlp: depth must be at least 0, width and outputs at least 1, but came depth={depth}, width={width}, "
            f"outputs={outputs}; give the number of hidden layers, of units in each, and of outputs."
        )
    hidden = [layer for _ in range(depth) for layer in (Dense(width, w_std, b_std), Activate(activation))]
    return Serial([*hidden, Dense(outputs, w_std, b_std)])
