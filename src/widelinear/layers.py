r"""Layers in Flax, each with its infinite-width limit.

A layer has two methods: `__call__(x)`, the finite layer, and `kernel_rule(kernel)`, what it does to the kernels when
its width is infinite. A Linen module is an architecture without weights, so the same object stands for both.
Inputs have channels last: (n, d), or (n, height, width, channels). Parameters are drawn in the dtype of the inputs.

`layers` and `nets` are the only files that know Flax. Everything else takes `apply(params, x)`; here that is
`net.apply`, with `params = net.init(key, x)`.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from widelinear.activations import Activation
from widelinear.kernels import Kernel, Law, Needs, same_site
from widelinear.windows import PADDINGS, by_patches, pad_windows, patches, window_sum

Scale = float | Float[Array, ""]  # a traced number, where a user differentiates kernels in it


class Layer(nn.Module):
    """What every layer is: a Flax module, a rule for kernels, and what that rule must be given.

    Example:
        >>> Flatten().needs(Needs(joint=True))
        Needs(joint=False, variances=False, own_joint=False)

    Source: our own. Oracle: convergence in width (`tests/test_layers_agree.py`).
    """

    def needs(self, after: Needs) -> Needs:
        """What the Kernel before the layer must hold, given what the Kernel after it must.

        Args:
            after: what later layers need.
        """
        return after

    def kernel_rule(self, kernel: Kernel) -> Kernel:
        """Map the Kernel before the layer to the Kernel after it.

        Args:
            kernel: the Kernel before.
        """
        raise NotImplementedError


class _ReadsVariances(Layer):
    """A layer whose rule is a function of the variances too."""

    def needs(self, after: Needs) -> Needs:
        """The variances.

        Args:
            after: what later layers need.
        """
        return after._replace(variances=True)


class _Weighted(Layer):
    """What Dense and Conv share: how weights are drawn and scaled, and their own part of the tangent kernel."""

    def _standard(self) -> bool:
        if self.parameterization not in ("ntk", "standard"):
            raise ValueError(
                f'{type(self).__name__}: parameterization must be "ntk" or "standard", but came as '
                f"{self.parameterization!r}; the first is the default."
            )
        return self.parameterization == "standard"

    def _weights(self, shape: tuple[int, ...], dtype: jnp.dtype) -> tuple[Array, Scale]:
        """The parameter `w`, and what it is multiplied by."""
        scale = self.w_std / math.prod(shape[:-1]) ** 0.5
        if self._standard():
            return self.param("w", _normal(scale), shape, dtype), 1.0
        return self.param("w", jax.random.normal, shape, dtype), scale

    def _add_bias(self, h: Float[Array, "*n features"]) -> Float[Array, "*n features"]:
        if self.b_std == 0:
            return h
        init, scale = (_normal(self.b_std), 1.0) if self._standard() else (jax.random.normal, self.b_std)
        b = self.param("b", init, (self.features,), h.dtype)
        return h + scale * b.reshape((1,) * (h.ndim - 1) + (-1,))

    def _after(self, kernel: Kernel, fan_in: int) -> Kernel:
        """Weights and bias on covariances already averaged over the window; `fan_in` counts values of one unit."""
        linear = kernel.each(lambda k: self.w_std**2 * k)
        after = linear.each(lambda k: k + self.b_std**2, law=Law(gaussian=True, fresh=True, fan=1))
        own = after.nngp
        if self._standard():
            own = kernel.nngp * (0 if kernel.law.fan is None else kernel.law.fan * fan_in)
        gap = None if kernel.gap is None else self.w_std**2 * kernel.gap
        return after.replace(ntk=own + self.w_std**2 * kernel.ntk, gap=gap)


def _normal(std: Scale) -> nn.initializers.Initializer:
    return lambda key, shape, dtype: std * jax.random.normal(key, shape, dtype)


class Dense(_Weighted):
    r"""A fully connected layer; on images, the same one at every site.

    $$h = \frac{\sigma_w}{\sqrt{n_\mathrm{in}}}\,x\,\omega + \sigma_b\,\beta, \qquad
      \omega_{ij}, \beta_j \sim \mathcal{N}(0, 1),$$

    with $\omega$ and $\beta$ the trainable parameters `w` and `b`. In the infinite-width limit

    $$\mathcal{K} \leftarrow \sigma_w^2\,\mathcal{K} + \sigma_b^2, \qquad
      \Theta \leftarrow \mathcal{K}_\mathrm{new} + \sigma_w^2\,\Theta.$$

    In standard parameterization the parameters are $W = \sigma_w \omega / \sqrt{n_\mathrm{in}}$ and
    $b = \sigma_b \beta$. The tangent kernel then grows with the width, and its limit over the width is
    $\Theta \leftarrow \mathcal{K} + \sigma_w^2\,\Theta$: no bias, and nothing of a layer that reads the inputs.

    Args:
        features: width $n$ of the layer.
        w_std: $\sigma_w$.
        b_std: $\sigma_b$; 0 means a layer without bias.
        parameterization: `"ntk"` or `"standard"`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> layer = Dense(3, w_std=1.5, b_std=0.1)
        >>> params = layer.init(jax.random.key(0), jnp.ones((2, 4)))
        >>> layer.apply(params, jnp.ones((2, 4))).shape
        (2, 3)

    Source: paper, eq. 1; S25–S27, S28–S35 and S42. Oracle: convergence in width (`tests/test_layers_agree.py`).
    """

    features: int
    w_std: Scale = 1.0
    b_std: Scale = 0.0
    parameterization: str = "ntk"

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n features"]:
        """The finite layer."""
        w, scale = self._weights((x.shape[-1], self.features), x.dtype)
        return self._add_bias(scale * (x @ w))

    def kernel_rule(self, kernel: Kernel) -> Kernel:
        """The infinite layer."""
        return self._after(kernel, fan_in=1)


class Conv(_Weighted):
    r"""A convolution, over one, two or three site axes.

    $$h_p = \frac{\sigma_w}{\sqrt{|\Delta|\, n_\mathrm{in}}} \sum_{\delta \in \Delta} x_{s p + \delta}\,\omega_\delta
      + \sigma_b\,\beta .$$

    In the infinite-width limit every weight meets the same offset $\delta$ in both inputs:

    $$\mathcal{K}_{p\,p'} \leftarrow \frac{\sigma_w^2}{|\Delta|} \sum_{\delta \in \Delta}
      \mathcal{K}_{s p + \delta,\; s p' + \delta} + \sigma_b^2,$$

    and $\Theta$ as in `Dense`, with the same average over the window.

    Args:
        features: number of channels.
        kernel_size: sites of the window $\Delta$ along each axis.
        strides: $s$, along each axis or one for all.
        padding: `"SAME"` (zeros), `"VALID"` (none) or `"CIRCULAR"`.
        w_std: $\sigma_w$.
        b_std: $\sigma_b$; 0 means a layer without bias.
        parameterization: `"ntk"` or `"standard"`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> layer = Conv(8, strides=2)
        >>> params = layer.init(jax.random.key(0), jnp.ones((1, 6, 6, 3)))
        >>> layer.apply(params, jnp.ones((1, 6, 6, 3))).shape
        (1, 3, 3, 8)

    Source: the networks of Figures S2, S5 and 4. Oracle: frozen neural-tangents numbers (`tests/test_kernels.py`), and
    convergence in width (`tests/test_layers_agree.py`).
    """

    features: int
    kernel_size: Sequence[int] = (3, 3)
    strides: int | Sequence[int] = 1
    padding: str = "SAME"
    w_std: Scale = 1.0
    b_std: Scale = 0.0
    parameterization: str = "ntk"

    def __post_init__(self) -> None:
        # Tuples are hashable, so that a layer can be a static argument of `jit`.
        self.kernel_size, self.strides = _windows("Conv", self.kernel_size, self.strides, self.padding)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "n *sites d"]) -> Float[Array, "n *windows features"]:
        """The finite layer."""
        _check_axes("Conv", x.ndim - 2, self.kernel_size)
        w, scale = self._weights((*self.kernel_size, x.shape[-1], self.features), x.dtype)
        if by_patches():
            seen = patches(x, self._windows(), self.padding)
            h = seen.reshape(-1, seen.shape[-1]) @ w.reshape(-1, self.features)
            return self._add_bias(scale * h.reshape(*seen.shape[:-1], self.features))
        padding = self.padding
        if padding == "CIRCULAR":
            x, padding = pad_windows(x, self._windows(), padding), "VALID"
        sites = "DHW"[-len(self.kernel_size) :]
        layout = (f"N{sites}C", f"{sites}IO", f"N{sites}C")
        strides = [stride for _, stride in self._windows()]
        h = jax.lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=layout)
        return self._add_bias(scale * h)

    def kernel_rule(self, kernel: Kernel) -> Kernel:
        """The infinite layer."""
        _check_axes("Conv", kernel.sites, self.kernel_size)
        gap = None if kernel.gap is None else self._mean(kernel.gap)
        averaged = kernel.each(self._mean, ntk=self._mean(kernel.ntk)).with_gap(gap)
        return self._after(averaged, fan_in=math.prod(self.kernel_size))

    def _windows(self) -> list[tuple[int, int]]:
        return _pairs(self.kernel_size, self.strides)

    def _mean(self, values: Array) -> Array:
        """The mean over the window, which moves along the same axis of both inputs where there are two."""
        sites = len(self.kernel_size)
        for axis, (size, stride) in enumerate(self._windows()):
            axes = range(axis, values.ndim, sites)
            values = window_sum(values, axes, size, stride, self.padding)
        return values * (1 / math.prod(self.kernel_size))


class _Pool(Layer):
    """What the pooling layers share: the windows move independently in the two inputs."""

    def _pool(self, values: Array, first: int, sites: int) -> Array:
        """The values pooled over one input's site axes, the first of which is `first`."""
        raise NotImplementedError

    def __call__(self, x: Float[Array, "n *sites d"]) -> Float[Array, "n *windows d"]:
        """The finite layer."""
        return self._pool(x, 1, x.ndim - 2)

    def needs(self, after: Needs) -> Needs:
        """All pairs of sites; within one input too, if its variance is read afterwards.

        Args:
            after: what later layers need.
        """
        return Needs(joint=True, variances=after.variances, own_joint=after.variances or after.own_joint)

    def kernel_rule(self, kernel: Kernel) -> Kernel:
        """The infinite layer."""
        sites = kernel.sites
        if sites == 0 or kernel.nngp.ndim != 2 * sites:
            raise ValueError(
                f"{type(self).__name__}: expected covariances between all pairs of sites, but came those of "
                f"{'equal sites' if sites else 'inputs without sites'}; put pooling before Flatten, and let layers of "
                "your own pass on `needs`."
            )

        def pooled(values: Array) -> Array:
            return self._pool(self._pool(values, sites, sites), 0, sites)

        def variance(var: Array | None) -> Array | None:
            return pooled(var) if var is not None and var.ndim == 2 * sites else None

        nngp, var1, var2 = pooled(kernel.nngp), variance(kernel.var1), variance(kernel.var2)
        return Kernel(nngp, pooled(kernel.ntk), var1, var2, sites=nngp.ndim // 2, law=kernel.law)


class SumPool(_Pool):
    r"""The sum over the sites of a window.

    $$h_p = \sum_{\delta \in \Delta} x_{s p + \delta}, \qquad
      \mathcal{K}_{p\,p'} \leftarrow \sum_{\delta, \delta' \in \Delta}
      \mathcal{K}_{s p + \delta,\; s p' + \delta'},$$

    and $\Theta$ likewise.

    Args:
        window: sites of the window $\Delta$ along each axis.
        strides: $s$, along each axis or one for all; by default the window's size.
        padding: `"SAME"` (zeros), `"VALID"` (none) or `"CIRCULAR"`.

    Example:
        >>> import jax.numpy as jnp
        >>> SumPool((2, 2)).apply({}, jnp.ones((1, 4, 4, 3))).shape
        (1, 2, 2, 3)

    Source: our own. Oracle: by hand (`tests/test_layers.py`), and convergence in width (`tests/test_layers_agree.py`).
    """

    window: Sequence[int] = (2, 2)
    strides: int | Sequence[int] | None = None
    padding: str = "VALID"

    def __post_init__(self) -> None:
        strides = self.window if self.strides is None else self.strides
        self.window, self.strides = _windows(type(self).__name__, self.window, strides, self.padding)
        super().__post_init__()

    def _pool(self, values: Array, first: int, sites: int) -> Array:
        _check_axes(type(self).__name__, sites, self.window)
        for axis, (size, stride) in enumerate(_pairs(self.window, self.strides), start=first):
            values = window_sum(values, [axis], size, stride, self.padding)
        return values


class AvgPool(SumPool):
    r"""The mean over the sites of a window; padded sites count as zeros.

    $$h_p = \frac{1}{|\Delta|} \sum_{\delta \in \Delta} x_{s p + \delta}, \qquad
      \mathcal{K}_{p\,p'} \leftarrow \frac{1}{|\Delta|^2} \sum_{\delta, \delta' \in \Delta}
      \mathcal{K}_{s p + \delta,\; s p' + \delta'},$$

    and $\Theta$ likewise. Its arguments are those of `SumPool`.

    Example:
        >>> import jax.numpy as jnp
        >>> float(AvgPool((2, 2)).apply({}, jnp.ones((1, 4, 4, 3)))[0, 0, 0, 0])
        1.0

    Source: the networks of Figures S2 and 4. Oracle: by hand (`tests/test_layers.py`), and frozen neural-tangents
    numbers (`tests/test_kernels.py`).
    """

    def _pool(self, values: Array, first: int, sites: int) -> Array:
        return super()._pool(values, first, sites) * (1 / math.prod(self.window))


class GlobalAvgPool(_Pool):
    r"""The mean over all sites.

    $$h = \frac{1}{P} \sum_p x_p, \qquad \mathcal{K} \leftarrow \frac{1}{P^2} \sum_{p, p'} \mathcal{K}_{p\,p'},$$

    and $\Theta$ likewise.

    Example:
        >>> import jax.numpy as jnp
        >>> GlobalAvgPool().apply({}, jnp.ones((1, 4, 4, 3))).shape
        (1, 3)

    Source: our own. Oracle: the average of flattened kernels of shifted images (`tests/test_kernels.py`).
    """

    def _pool(self, values: Array, first: int, sites: int) -> Array:
        return values.mean(tuple(range(first, first + sites)))


class Flatten(Layer):
    r"""All sites and channels in one row, so that the next dense layer has weights for each.

    $$\mathcal{K} \leftarrow \frac{1}{P} \sum_p \mathcal{K}_{p\,p}, \qquad
      \Theta \leftarrow \frac{1}{P} \sum_p \Theta_{p\,p} .$$

    Example:
        >>> import jax.numpy as jnp
        >>> Flatten().apply({}, jnp.ones((2, 4, 4, 3))).shape
        (2, 48)

    Source: our own. Oracle: frozen neural-tangents numbers (`tests/test_kernels.py`).
    """

    def __call__(self, x: Float[Array, "n *sites d"]) -> Float[Array, "n features"]:
        """The finite layer."""
        return x.reshape(len(x), math.prod(x.shape[1:]))

    def needs(self, after: Needs) -> Needs:
        """Equal sites only.

        Args:
            after: what later layers need.
        """
        return Needs(variances=after.variances)

    def kernel_rule(self, kernel: Kernel) -> Kernel:
        """The infinite layer."""
        sites = kernel.sites
        count = math.prod(same_site(kernel.nngp, sites).shape)

        def mean(values: Array) -> Array:
            return same_site(values, sites).mean()

        law = kernel.law._replace(fan=None if kernel.law.fan is None else kernel.law.fan * count)
        gap = None if kernel.gap is None else mean(kernel.gap)
        return kernel.each(mean, ntk=mean(kernel.ntk), gap=gap, sites=0, law=law)


class LayerNorm(_ReadsVariances):
    r"""Every site's channels shifted to mean 0 and scaled to variance 1; without trainable parameters.

    $$h = \frac{x - \bar{x}}{\sqrt{s^2 + \epsilon}}, \qquad
      \mathcal{K} \leftarrow \frac{\mathcal{K}}{\sqrt{(\mathcal{K}_{11} + \epsilon)(\mathcal{K}_{22} + \epsilon)}},$$

    with $\bar{x}$ and $s^2$ the mean and variance over channels, which at infinite width are 0 and $\mathcal{K}(x, x)$
    where the layer before is dense or a convolution. $\Theta$ is scaled alike.

    Args:
        epsilon: $\epsilon$, added to the variance.

    Example:
        >>> import jax.numpy as jnp
        >>> LayerNorm(epsilon=0.0).apply({}, jnp.array([[1.0, 3.0]])).tolist()
        [[-1.0, 1.0]]

    Source: our own. Oracle: convergence in width (`tests/test_layers_agree.py`).
    """

    epsilon: float = 1e-6

    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        """The finite layer."""
        centred = x - x.mean(-1, keepdims=True)
        return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + self.epsilon)

    def kernel_rule(self, kernel: Kernel) -> Kernel:
        """The infinite layer."""
        _check_gaussian("LayerNorm", kernel, "subtracts the mean over channels, which is 0 then")
        var1, var2 = kernel.variances()
        inverse1, inverse2 = (1 / jnp.sqrt(var + self.epsilon) for var in (var1, var2))
        scale = inverse1 * inverse2
        gap = None
        if kernel.gap is not None:
            gap = kernel.gap * scale + (inverse1 - inverse2) * (var1 * inverse1 - var2 * inverse2) / 2
        own1, own2 = (self._own(var, kernel.sites) for var in (kernel.var1, kernel.var2))
        return kernel.replace(nngp=kernel.nngp * scale, ntk=kernel.ntk * scale, var1=own1, var2=own2, gap=gap)

    def _own(self, var: Array, sites: int) -> Array:
        """The second moments of one input with itself, normalised."""
        inverse = 1 / jnp.sqrt(same_site(var, sites) + self.epsilon)
        if var.ndim == sites:
            return var * inverse**2
        ones = (1,) * sites
        return var * inverse.reshape(inverse.shape + ones) * inverse.reshape(ones + inverse.shape)


class Activate(_ReadsVariances):
    r"""An activation function, applied to every unit.

    $$\mathcal{K} \leftarrow \mathcal{T}(\mathcal{K}), \qquad
      \Theta \leftarrow \dot{\mathcal{T}}(\mathcal{K})\,\Theta.$$

    Args:
        activation: an `Activation`: the function with its dual maps.

    Example:
        >>> import jax.numpy as jnp, widelinear as wl
        >>> Activate(wl.relu).apply({}, jnp.array([-1.0, 2.0])).tolist()
        [0.0, 2.0]

    Source: paper, S26–S35. Oracle: convergence in width (`tests/test_layers_agree.py`).
    """

    activation: Activation

    def __call__(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """The finite layer."""
        return self.activation.phi(x)

    def kernel_rule(self, kernel: Kernel) -> Kernel:
        """The infinite layer."""
        _check_gaussian("Activate", kernel, "takes the expectation over Gaussian values")
        moments = self.activation.moments(kernel.distance(), kernel.nngp, *kernel.variances())
        return kernel.replace(
            nngp=moments.dual,
            ntk=moments.dual_dot * kernel.ntk,
            var1=self._own(kernel.var1, kernel.sites),
            var2=self._own(kernel.var2, kernel.sites),
            gap=None if kernel.gap is None else moments.gap,
            law=kernel.law._replace(gaussian=False, fresh=False),
        )

    def _own(self, var: Array, sites: int) -> Array:
        """The second moments of one input with itself."""
        if var.ndim == sites:
            return self.activation.square(var)
        own = Kernel(nngp=var, ntk=var, var1=var, var2=var, sites=sites)
        return self.activation.moments(own.distance(), var, *own.variances()).dual


class Identity(Layer):
    """A layer that changes nothing: the skip connection of a residual block.

    Example:
        >>> import jax.numpy as jnp
        >>> Identity().apply({}, jnp.ones(2)).tolist()
        [1.0, 1.0]

    Source: our own. Oracle: convergence in width (`tests/test_layers_agree.py`).
    """

    def __call__(self, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """The finite layer."""
        return x

    def kernel_rule(self, kernel: Kernel) -> Kernel:
        """The infinite layer."""
        return kernel


def _windows(
    layer: str, window: Sequence[int], strides: int | Sequence[int], padding: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Window and strides as tuples of one length, so that a layer is hashable."""
    window = tuple(window)
    strides = (strides,) * len(window) if isinstance(strides, int) else tuple(strides)
    if not 1 <= len(window) <= 3 or len(strides) != len(window) or min(*window, *strides, 1) < 1:
        raise ValueError(
            f"{layer}: expected one to three window sizes and as many strides, all at least 1, but came window "
            f"{window} and strides {strides}; give, for example, (3, 3) and 1."
        )
    if padding not in PADDINGS:
        raise ValueError(f"{layer}: padding must be one of {', '.join(PADDINGS)}, but came as {padding!r}; choose one.")
    return window, strides


def _pairs(window: Sequence[int], strides: Any) -> list[tuple[int, int]]:
    """Size and stride along each axis, once `_windows` has made tuples of both."""
    return list(zip(window, strides, strict=True))


def _check_axes(layer: str, sites: int, window: Sequence[int]) -> None:
    if sites != len(window):
        raise ValueError(
            f"{layer}: a window of {len(window)} sizes needs inputs with as many site axes, channels last, but these "
            f"have {sites} site axes; give images as (n, height, width, channels), and a size for each axis."
        )


def _check_gaussian(layer: str, kernel: Kernel, why: str) -> None:
    if not kernel.law.gaussian:
        raise ValueError(
            f"{layer}: its infinite-width limit {why}, but the values before it are not Gaussian (the inputs, or an "
            "activation with no weights after it); put a Dense or Conv layer before it, or use monte_carlo_kernels."
        )
