r"""Networks, put together from layers: in sequence, in parallel, and as the paper builds them."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

from flax import linen as nn
from jaxtyping import Array, Float

from widelinear.activations import Activation, relu
from widelinear.kernels import HasKernelRule, Kernel, Law, Needs
from widelinear.layers import (
    Activate,
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Identity,
    Layer,
    Scale,
)


def _checked(owner: str, layers: Sequence[Any]) -> tuple[nn.Module, ...]:
    """The layers as a tuple, which is hashable, so that a network can be a static argument of `jit`."""
    for layer in layers:
        if not isinstance(layer, nn.Module):
            raise TypeError(f"{owner}: expected Flax modules, but came {layer!r}; make it a module with `kernel_rule`.")
    return tuple(layers)


def _rule(layer: nn.Module, kernel: Kernel) -> Kernel:
    if not isinstance(layer, HasKernelRule):
        raise ValueError(
            f"{type(layer).__name__} has no infinite-width limit here (it has no `kernel_rule`); estimate its kernels "
            "with monte_carlo_kernels, or use the empirical_ntk of one network."
        )
    return layer.kernel_rule(kernel)


def _needs(layer: nn.Module, after: Needs) -> Needs:
    return layer.needs(after) if hasattr(layer, "needs") else after._replace(variances=True)


class Serial(Layer):
    r"""Layers one after the other.

    $$f = f_L \circ \dots \circ f_1 .$$

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

    layers: Sequence[Any]

    def __post_init__(self) -> None:
        self.layers = _checked("Serial", self.layers)
        super().__post_init__()

    def __call__(self, x: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        """The finite network."""
        for layer in self.layers:
            x = layer(x)
        return x

    def needs(self, after: Needs) -> Needs:
        """What the first layer must be given, from the last layer back.

        Args:
            after: what is read of the output.
        """
        return reduce(lambda needs, layer: _needs(layer, needs), reversed(self.layers), after)

    def kernel_rule(self, kernel: Kernel) -> Kernel:
        """The infinite network."""
        return reduce(lambda kernel, layer: _rule(layer, kernel), self.layers, kernel)


class Sum(Layer):
    r"""Branches side by side, added: with `Identity` as one of them, a residual block.

    $$h = \sum_b f_b(x), \qquad \mathcal{K} \leftarrow \sum_b \mathcal{K}_b, \qquad
      \Theta \leftarrow \sum_b \Theta_b .$$

    The kernels add up because branches with weights of their own are uncorrelated; at most one may end without.

    Args:
        branches: layers or networks with outputs of one shape.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> block = Sum([Identity(), Serial([Activate(relu), Dense(4)])])
        >>> block.apply(block.init(jax.random.key(0), jnp.ones((2, 4))), jnp.ones((2, 4))).shape
        (2, 4)

    Source: paper, Table S1. Oracle: frozen neural-tangents numbers (`tests/test_kernels.py`).
    """

    branches: Sequence[Any]

    def __post_init__(self) -> None:
        self.branches = _checked("Sum", self.branches)
        super().__post_init__()

    def __call__(self, x: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
        """The finite layer."""
        return sum((branch(x) for branch in self.branches[1:]), start=self.branches[0](x))

    def needs(self, after: Needs) -> Needs:
        """What any branch needs.

        Args:
            after: what later layers need.
        """
        return Needs(*map(any, zip(*(_needs(branch, after) for branch in self.branches), strict=True)))

    def kernel_rule(self, kernel: Kernel) -> Kernel:
        """The infinite layer."""
        inside = kernel.replace(law=kernel.law._replace(fresh=False))
        kernels = [_rule(branch, inside) for branch in self.branches]
        if sum(not branch.law.fresh for branch in kernels) > 1:
            raise ValueError(
                "Sum: at most one branch may end without weights of its own, or the branches are correlated and their "
                "kernels do not add up; end the others with a Dense or Conv layer, or use monte_carlo_kernels."
            )
        shapes = {branch.nngp.shape for branch in kernels}
        if len(shapes) > 1:
            raise ValueError(
                f"Sum: the branches' outputs must have equal sites, but came {shapes}; match their strides."
            )
        return reduce(_added, kernels).replace(law=_law_of_sum(kernel, kernels))


def _added(one: Kernel, other: Kernel) -> Kernel:
    """Kernels of independent branches add up, and so do expected squared distances."""

    def added(a: Any, b: Any) -> Any:
        return None if a is None or b is None else a + b

    fields = ("nngp", "ntk", "var1", "var2", "gap")
    return one.replace(**{name: added(getattr(one, name), getattr(other, name)) for name in fields})


def _law_of_sum(before: Kernel, kernels: list[Kernel]) -> Law:
    laws = [kernel.law for kernel in kernels]
    fans = {law.fan for law in laws}
    fresh = all(law.fresh for law in laws) or before.law.fresh
    return Law(gaussian=all(law.gaussian for law in laws), fresh=fresh, fan=max(fans, key=lambda fan: fan or 0))


def _check_sizes(owner: str, *, least: int = 1, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < least:
            raise ValueError(f"{owner}: {name} must be at least {least}, but came {size}; give a larger {name}.")


def mlp(
    *,
    depth: int,
    width: int,
    outputs: int = 1,
    activation: Activation = relu,
    w_std: Scale = 1.0,
    b_std: Scale = 0.0,
    parameterization: str = "ntk",
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
        parameterization: `"ntk"`, as above, or `"standard"`.

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
    _check_sizes("mlp", least=0, depth=depth)
    _check_sizes("mlp", width=width, outputs=outputs)
    scales = (w_std, b_std, parameterization)
    hidden = [layer for _ in range(depth) for layer in (Dense(width, *scales), Activate(activation))]
    return Serial([*hidden, Dense(outputs, *scales)])


def cnn(
    *,
    depth: int,
    channels: int,
    outputs: int = 1,
    activation: Activation = relu,
    kernel_size: Sequence[int] = (3, 3),
    padding: str = "SAME",
    pool: bool = True,
    w_std: Scale = 1.0,
    b_std: Scale = 0.0,
    parameterization: str = "ntk",
) -> Serial:
    r"""The paper's convolutional network: `depth` convolutions of one width, then pooling or flattening, and a readout.

    $$f = \mathrm{Dense} \circ (\mathrm{GlobalAvgPool} \text{ or } \mathrm{Flatten}) \circ
      \phi \circ \mathrm{Conv} \circ \dots \circ \phi \circ \mathrm{Conv} .$$

    Args:
        depth: number of convolutions.
        channels: number of channels of each.
        outputs: number $k$ of outputs.
        activation: $\phi$.
        kernel_size: sites of the window along each axis.
        padding: `"SAME"`, `"VALID"` or `"CIRCULAR"`.
        pool: average over all sites before the readout; otherwise it has weights for each site.
        w_std: $\sigma_w$ of every layer, the readout included.
        b_std: $\sigma_b$ likewise.
        parameterization: `"ntk"` or `"standard"`.

    Returns:
        A `Serial` that takes images (n, height, width, channels).

    Raises:
        ValueError: if a size is not at least 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = cnn(depth=2, channels=4)
        >>> images = jnp.ones((2, 8, 8, 3))
        >>> net.apply(net.init(jax.random.key(0), images), images).shape
        (2, 1)

    Source: paper, Figure S2 and S5. Oracle: frozen neural-tangents numbers (`tests/test_kernels.py`).
    """
    _check_sizes("cnn", depth=depth, channels=channels, outputs=outputs)
    scales = (w_std, b_std, parameterization)
    hidden = [
        layer
        for _ in range(depth)
        for layer in (Conv(channels, kernel_size, 1, padding, *scales), Activate(activation))
    ]
    return Serial([*hidden, GlobalAvgPool() if pool else Flatten(), Dense(outputs, *scales)])


def wide_resnet(
    *,
    blocks: int,
    channels: int,
    outputs: int = 10,
    activation: Activation = relu,
    pool: Sequence[int] = (8, 8),
    w_std: Scale = 1.0,
    b_std: Scale = 0.0,
    parameterization: str = "ntk",
) -> Serial:
    r"""The paper's wide residual network, without batch normalization: three groups of blocks of one width.

    $$x \leftarrow s(x) + \mathrm{Conv}\,\phi\,\mathrm{Conv}\,\phi(x),$$

    with a convolution as shortcut $s$ in the first block of a group and the identity in the others. The second and the
    third group halve the image.

    Args:
        blocks: number $N$ of blocks in a group; the depth is $6N + 4$.
        channels: number of channels of every layer.
        outputs: number $k$ of outputs.
        activation: $\phi$.
        pool: the window of the average pooling at the end; (8, 8) leaves one site of a 32 × 32 image.
        w_std: $\sigma_w$ of every layer.
        b_std: $\sigma_b$ likewise.
        parameterization: `"ntk"` or `"standard"`.

    Returns:
        A `Serial` that takes images (n, height, width, channels).

    Raises:
        ValueError: if a size is not at least 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = wide_resnet(blocks=1, channels=4, pool=(2, 2))
        >>> images = jnp.ones((2, 8, 8, 3))
        >>> jax.eval_shape(net.init_with_output, jax.random.key(0), images)[0].shape
        (2, 10)

    Source: paper, Table S1 (shortcuts and strides as in Zagoruyko and Komodakis, 2016).
    Oracle: frozen neural-tangents numbers (`tests/test_kernels.py`).
    """
    _check_sizes("wide_resnet", blocks=blocks, channels=channels, outputs=outputs)

    def conv(stride: int = 1) -> Conv:
        return Conv(channels, (3, 3), stride, "SAME", w_std, b_std, parameterization)

    def block(stride: int, first: bool) -> Sum:
        branch = Serial([Activate(activation), conv(stride), Activate(activation), conv()])
        return Sum([conv(stride) if first else Identity(), branch])

    groups = [block(stride if i == 0 else 1, first=i == 0) for stride in (1, 2, 2) for i in range(blocks)]
    return Serial([conv(), *groups, AvgPool(pool), Flatten(), Dense(outputs, w_std, b_std, parameterization)])
