r"""Gradients of a network as outer products, so that its tangent kernel needs no Jacobian.

A weight that multiplies its layer's inputs has, at one example, the gradient

$$\nabla_W f_j(x) = \sum_s u_s(x) \otimes v_{js}(x),$$

with $u_s$ the inputs of the layer (patches of them, for a convolution), $v_{js}$ the derivative of output $j$ in the
layer's outputs, and one term for every site $s$ that shares the weight. The inner product of two gradients is then a
sum of products of small Gram matrices, $\sum_{st} (u_s \cdot u'_t)(v_{js} \cdot v'_{lt})$.

The outer products are found, not declared: the pull-back of `apply` is traced, and where the last operation that makes
a parameter's gradient is a matrix product or a convolution, its operands are taken in place of its result. So any
`apply` will do. What is not recognised (normalization scales, shared weights, biases) keeps its explicit gradient.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import opt_einsum
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var, jaxpr_as_fun
from jax.extend.core import Literal as Constant
from jaxtyping import Array, Float

from widelinear.linearize import Apply, Params

Atom = Any  # a variable of a traced program, or a constant in it
Directions = Float[Array | np.ndarray, "q k"]  # combinations of outputs
Pairing = Literal["full", "diagonal", "trace"]

CONTRACTIONS = {
    "full": "asi,bti,aqso,brto->aqbr",
    "diagonal": "asi,bti,aqso,bqto->abq",
    "trace": "asi,bti,aqso,bqto->ab",
}
GRAMS_FIRST: list[tuple[int, ...]] = [(0, 1), (0, 1), (0, 1)]
CHUNK_BYTES = 2**24  # inputs and cotangents held at a time where gradients are written out: what caches hold
CALLS = {"jit", "pjit", "closed_call", "remat2", "checkpoint"}  # names of operations that hold a program to be run
REARRANGEMENTS = frozenset({"transpose", "reshape", "squeeze", "neg", "copy"})  # these keep inner products of gradients


class OuterProducts(NamedTuple):
    r"""The gradients of one weight, $\sum_s u_s \otimes v_{qs}$ at every example and in every direction $q$.

    Args:
        inputs: $u_s$, shape (n, s, i).
        cotangents: $v_{qs}$, shape (n, q, s, o).

    Example:
        >>> import jax.numpy as jnp
        >>> OuterProducts(jnp.ones((3, 1, 5)), jnp.ones((3, 2, 1, 4))).inputs.shape
        (3, 1, 5)

    Source: the chain rule for a matrix product. Oracle: explicit Jacobians (`tests/test_structured.py`).
    """

    inputs: Float[Array, "n s i"]
    cotangents: Float[Array, "n q s o"]


def parameter_gradients(
    apply: Apply, params: Params, x: Float[Array, "n ..."], directions: Directions
) -> list[OuterProducts]:
    r"""Gradients of combinations of outputs at every example, parameter by parameter.

    $$g_{aq} = \nabla_\theta \textstyle\sum_j D_{qj}\,f_j(x_a).$$

    Args:
        apply: the network, `apply(params, x)`, with outputs of shape (n, k).
        params: its parameters.
        x: inputs, each seen by itself.
        directions: $D$, which combinations of outputs; the identity for all outputs.

    Returns:
        `OuterProducts` for every leaf of `params`; an explicit gradient is one with the input 1.

    Example:
        >>> import jax.numpy as jnp
        >>> gradients = parameter_gradients(lambda w, x: x @ w, jnp.ones((5, 2)), jnp.ones((3, 5)), jnp.eye(2))
        >>> [leaf.shape for leaf in gradients[0]]
        [(3, 1, 5), (3, 2, 1, 2)]

    Source: chain rule. Oracle: explicit Jacobians (`tests/test_structured.py`).
    """
    program = _pull_back(apply, params, x)
    recipes = _recipes(program.jaxpr)
    wanted = [atom for recipe in recipes for atom in recipe.atoms()]

    def one(x: Float[Array, "..."], direction: Float[Array, " k"]) -> tuple[list[Array], list[Array]]:
        read = _evaluate(program, [*jax.tree.leaves(params), x, direction], wanted)
        return [recipe.inputs_by_site(read) for recipe in recipes], [
            recipe.cotangents_by_site(read) for recipe in recipes
        ]

    in_all_directions = jax.vmap(one, in_axes=(None, 0), out_axes=(None, 0))
    inputs, cotangents = jax.vmap(in_all_directions, in_axes=(0, None))(x, jnp.asarray(directions))
    return [OuterProducts(*factors) for factors in zip(inputs, cotangents, strict=True)]


class Plan(NamedTuple):
    """How the gradients of a network are held for its kernel.

    Args:
        written_out: for each parameter, whether its explicit gradient takes fewer operations than its outer products.
        rows: examples whose inputs and cotangents of all sites are held at a time, where some gradient is written out.

    Example:
        >>> Plan(written_out=(True, False), rows=4).rows
        4

    Source: house code. Oracle: that of `plan_gradients`.
    """

    written_out: tuple[bool, ...]
    rows: int


def plan_gradients(apply: Apply, params: Params, xs: Sequence[Any], directions: Any, pairing: Pairing) -> Plan:
    """Choose for each parameter between outer products and an explicit gradient, from shapes alone.

    Args:
        apply: the network, `apply(params, x)`.
        params: its parameters, or their shapes.
        xs: the inputs, or two sets of them, or their shapes.
        directions: which combinations of outputs, as in `parameter_gradients`, or their shape.
        pairing: as in `kernel_contribution`.

    Returns:
        A `Plan`.

    Example:
        >>> import jax.numpy as jnp
        >>> plan_gradients(lambda w, x: (x @ w).sum(1), jnp.ones((2, 3)), [jnp.ones((1, 99, 2))], jnp.eye(3), "full")
        Plan(written_out=(True,), rows=1)

    Source: opt_einsum's count. Oracle: the operations of the compiled program (`tests/test_costs.py`).
    """
    shapes = [jax.eval_shape(partial(parameter_gradients, apply), params, x, directions) for x in xs]
    written_out = tuple(contraction(g1, g2, pairing)[2] for g1, g2 in zip(shapes[0], shapes[-1], strict=True))
    one_example = sum(math.prod(leaf.shape[1:]) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes[0]))
    largest = max(x.shape[0] for x in xs)
    return Plan(written_out, min(largest, max(1, CHUNK_BYTES // one_example)) if any(written_out) else largest)


def planned_gradients(
    apply: Apply, params: Params, x: Float[Array, "n ..."], directions: Directions, plan: Plan
) -> list[OuterProducts]:
    """Gradients as from `parameter_gradients`, written out where the plan says so.

    Args:
        apply: the network, `apply(params, x)`.
        params: its parameters.
        x: inputs.
        directions: which combinations of outputs.
        plan: from `plan_gradients`.

    Returns:
        `OuterProducts` for every leaf of `params`.

    Example:
        >>> import jax.numpy as jnp
        >>> plan, x = Plan(written_out=(True,), rows=1), jnp.ones((1, 99, 2))
        >>> (gradient,) = planned_gradients(lambda w, x: (x @ w).sum(1), jnp.ones((2, 3)), x, jnp.eye(3), plan)
        >>> gradient.inputs.shape, gradient.cotangents.shape
        ((1, 1, 1), (1, 3, 1, 6))

    Source: chain rule. Oracle: explicit Jacobians (`tests/test_structured.py`).
    """
    found = parameter_gradients(apply, params, x, directions)
    return [_written_out(g) if explicit else g for g, explicit in zip(found, plan.written_out, strict=True)]


def kernel_contribution(g1: OuterProducts, g2: OuterProducts, pairing: Pairing) -> Float[Array, "..."]:
    r"""The inner products of one parameter's gradients at two sets of examples.

    $$\Theta_{aq,br} = \sum_{st} (u_{as} \cdot u_{bt})\,(v_{aqs} \cdot v_{brt}).$$

    With one site this is a Hadamard product of two Gram matrices: a layer's weight and bias share that of its
    cotangents, which XLA computes once. With more, the sums are done in the order that takes the fewest operations.

    Args:
        g1: gradients at $n_1$ examples.
        g2: gradients of the same parameter at $n_2$ examples.
        pairing: "full" for every pair of directions, "diagonal" for $q = r$, "trace" for the sum of those.

    Returns:
        Shape (n1, q, n2, q), (n1, n2, q) or (n1, n2).

    Example:
        >>> import jax.numpy as jnp
        >>> g = OuterProducts(jnp.ones((3, 1, 5)), jnp.ones((3, 2, 1, 4)))
        >>> kernel_contribution(g, g, "trace")[0, 0].item()
        40.0

    Source: paper, eq. 4. Oracle: explicit Jacobians (`tests/test_structured.py`).
    """
    (u1, v1), (u2, v2) = g1, g2
    return jnp.einsum(CONTRACTIONS[pairing], u1, u2, v1, v2, optimize=_order(g1))


def contraction(g1: OuterProducts, g2: OuterProducts, pairing: Pairing) -> tuple[float, float, bool]:
    """What `kernel_contribution` costs, known from shapes.

    Args:
        g1: gradients, or their shapes.
        g2: gradients of the same parameter at other examples.
        pairing: as in `kernel_contribution`.

    Returns:
        Operations, numbers in the largest intermediate result, and whether sites are summed first: explicit gradients.

    Example:
        >>> import jax.numpy as jnp
        >>> g = OuterProducts(jnp.ones((3, 1, 5)), jnp.ones((3, 2, 1, 4)))
        >>> contraction(g, g, "trace")[2]
        False

    Source: opt_einsum's count. Oracle: the operations of the compiled program (`tests/test_costs.py`).
    """
    shapes = [leaf.shape for leaf in (g1.inputs, g2.inputs, g1.cotangents, g2.cotangents)]
    _, path = opt_einsum.contract_path(CONTRACTIONS[pairing], *shapes, shapes=True, optimize=_order(g1))
    return float(path.opt_cost), float(path.largest_intermediate), path.path[:2] == [(0, 2), (0, 1)]


def pull_back_flops(apply: Apply, params: Params, x: Any, *, explicit: bool) -> tuple[float, float]:
    """Operations to differentiate the outputs at one example, in matrix products and convolutions.

    Args:
        apply: the network, `apply(params, x)`.
        params: its parameters, or their shapes.
        x: inputs, or their shape.
        explicit: whether the gradients are written out, or left as `OuterProducts`.

    Returns:
        Operations that all directions share (the network itself), and those that each direction adds.

    Example:
        >>> import jax.numpy as jnp
        >>> pull_back_flops(lambda w, x: x @ w, jnp.ones((5, 2)), jnp.ones((3, 5)), explicit=True)
        (20.0, 20.0)

    Source: two operations for a multiplication and an addition. Oracle: by hand (`tests/test_costs.py`).
    """
    program = _pull_back(apply, params, x)
    jaxpr = program.jaxpr
    varies = _varying(jaxpr)
    wanted = jaxpr.outvars if explicit else [atom for recipe in _recipes(jaxpr) for atom in recipe.atoms()]
    network = jax.make_jaxpr(apply)(params, jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype))
    forward = sum((_flops(eqn) for eqn in network.jaxpr.eqns), 0.0)
    backward = sum((_flops(eqn) for eqn in _needed(jaxpr.eqns, wanted) if any(map(varies, eqn.outvars))), 0.0)
    return forward, backward


def _order(gradient: OuterProducts) -> str | list[tuple[int, ...]]:
    """The order of the sums in `kernel_contribution`, as `einsum` takes it."""
    return GRAMS_FIRST if gradient.inputs.shape[1] == 1 else "optimal"


def _written_out(gradient: OuterProducts) -> OuterProducts:
    """Summed over its sites: one site, with the input 1."""
    inputs, cotangents = gradient
    explicit = jnp.einsum("nsi,nqso->nqio", inputs, cotangents)
    return OuterProducts(jnp.ones_like(inputs[:, :1, :1]), explicit.reshape(*explicit.shape[:2], 1, -1))


class _Factor(NamedTuple):
    """A value in the traced pull-back, and how to arrange it by site and unit."""

    atom: Atom
    by_site: Callable[[Array], Float[Array, "s u"]]


class _Recipe(NamedTuple):
    """How the pull-back makes one gradient: from inputs (none for an explicit gradient), cotangents and scalars."""

    inputs: _Factor | None
    cotangents: _Factor
    scalars: list[tuple[str, Atom]]  # "mul" or "div", and by what

    def atoms(self) -> list[Atom]:
        inputs = [] if self.inputs is None else [self.inputs.atom]
        return [self.cotangents.atom, *inputs, *(atom for _, atom in self.scalars)]

    def cotangents_by_site(self, read: Callable[[Atom], Array]) -> Float[Array, "s o"]:
        return self.cotangents.by_site(read(self.cotangents.atom))

    def inputs_by_site(self, read: Callable[[Atom], Array]) -> Float[Array, "s i"]:
        # Scalars go here, for the weight and the bias of a layer to share one array of cotangents.
        if self.inputs is None:
            inputs = jnp.ones((1, 1), self.cotangents.atom.aval.dtype)
        else:
            inputs = self.inputs.by_site(read(self.inputs.atom))
        for operation, atom in self.scalars:
            inputs = inputs * read(atom) if operation == "mul" else inputs / read(atom)
        return inputs


def _pull_back(apply: Apply, params: Params, x: Any) -> ClosedJaxpr:
    """The program that maps parameters, one example and a direction to a gradient, with all calls inlined."""

    def gradient(params: Params, x: Float[Array, "..."], direction: Float[Array, " k"]) -> list[Array]:
        _, pull_back = jax.vjp(lambda p: apply(p, x[None])[0], params)
        return jax.tree.leaves(pull_back(direction))

    example = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
    output = jax.eval_shape(lambda p, x: apply(p, x[None])[0], params, example)
    nested = jax.make_jaxpr(gradient)(params, example, output)

    def flat(*arguments: Array) -> list[Array]:
        read = _evaluate(nested, arguments, nested.jaxpr.outvars)
        return [read(atom) for atom in nested.jaxpr.outvars]

    return jax.make_jaxpr(flat)(*nested.in_avals)


def _varying(jaxpr: Jaxpr) -> Callable[[Atom], bool]:
    """Whether a value depends on the direction, the last argument of the pull-back."""
    varying = {jaxpr.invars[-1]}
    for eqn in jaxpr.eqns:
        if not varying.isdisjoint(_variables(eqn.invars)):
            varying.update(eqn.outvars)
    return lambda atom: isinstance(atom, Var) and atom in varying


def _recipes(jaxpr: Jaxpr) -> list[_Recipe]:
    """What makes each parameter's gradient."""
    makers = {var: eqn for eqn in jaxpr.eqns for var in eqn.outvars}
    varies = _varying(jaxpr)

    def recipe(gradient: Atom) -> _Recipe:
        gradient, scalars = _stripped(gradient, makers, varies, REARRANGEMENTS)
        maker = makers.get(gradient) if varies(gradient) else None
        product = maker and (_of_matrices(maker, varies) or _of_images(maker, varies))
        if not product:
            return _Recipe(None, _Factor(gradient, lambda value: value.reshape(1, -1)), scalars)
        inputs, cotangents = product
        atom, more_scalars = _stripped(cotangents.atom, makers, varies)
        return _Recipe(inputs, cotangents._replace(atom=atom), scalars + more_scalars)

    return [recipe(gradient) for gradient in jaxpr.outvars]


def _stripped(
    atom: Atom, makers: dict[Var, JaxprEqn], varies: Callable[[Atom], bool], transparent: frozenset[str] = frozenset()
) -> tuple[Atom, list[tuple[str, Atom]]]:
    """What is left of a value without its scalar factors and without `transparent` operations; and the factors."""
    scalars = []
    while isinstance(atom, Var) and (eqn := makers.get(atom)):
        name, operands = eqn.primitive.name, sorted(eqn.invars, key=varies, reverse=True)
        if name in transparent:
            atom = eqn.invars[0]
        elif name in ("mul", "div") and _shape(operands[1]) == ():
            atom, scalar = operands
            scalars.append((name, scalar))
        else:
            break
    return atom, scalars


def _of_matrices(eqn: JaxprEqn, varies: Callable[[Atom], bool]) -> tuple[_Factor, _Factor] | None:
    """A `dot_general` as a product over sites, which are its contracted axes."""
    if eqn.primitive.name != "dot_general" or eqn.params["dimension_numbers"][1] != ((), ()):
        return None

    def factor(atom: Atom, axes: Sequence[int]) -> _Factor:
        sites = math.prod(_shape(atom)[axis] for axis in axes)
        return _Factor(atom, lambda value: jnp.moveaxis(value, axes, range(len(axes))).reshape(sites, -1))

    factors = map(factor, eqn.invars, eqn.params["dimension_numbers"][0])
    inputs, cotangents = sorted(factors, key=lambda f: varies(f.atom))
    return inputs, cotangents


def _of_images(eqn: JaxprEqn, varies: Callable[[Atom], bool]) -> tuple[_Factor, _Factor] | None:
    """A weight-gradient convolution, of images with cotangents as its kernel, as patches times cotangents."""
    if eqn.primitive.name != "conv_general_dilated" or varies(eqn.invars[0]):
        return None
    if eqn.params["feature_group_count"] > 1 or eqn.params["batch_group_count"] > 1:
        return None
    images, kernel = eqn.invars
    numbers = eqn.params["dimension_numbers"]
    channel, example, *space = numbers.lhs_spec  # here channels act as a batch, and examples are summed over
    unit, same_example, *kernel_space = numbers.rhs_spec
    window = [_shape(eqn.outvars[0])[axis] for axis in numbers.out_spec[2:]]
    sites = [_shape(kernel)[axis] for axis in kernel_space]

    def patches(value: Array) -> Float[Array, "s i"]:
        return _patches(jnp.transpose(value, (example, *space, channel)), window, sites, eqn.params)

    def cotangents(value: Array) -> Float[Array, "s o"]:
        return jnp.transpose(value, (same_example, *kernel_space, unit)).reshape(-1, value.shape[unit])

    return _Factor(images, patches), _Factor(kernel, cotangents)


def _patches(images: Array, window: list[int], sites: list[int], gradient: dict[str, Any]) -> Float[Array, "s i"]:
    """What each site of a convolution sees: a strided slice of the padded images for every place in the window."""
    borders = [(lo, hi, gap - 1) for (lo, hi), gap in zip(gradient["padding"], gradient["lhs_dilation"], strict=True)]
    padded = lax.pad(images, jnp.zeros((), images.dtype), [(0, 0, 0), *borders, (0, 0, 0)])
    strides, spacing = gradient["rhs_dilation"], gradient["window_strides"]  # the forward convolution has them swapped
    examples, *_, channels = images.shape

    def seen_at(place: tuple[int, ...]) -> Array:
        first = [p * d for p, d in zip(place, spacing, strict=True)]
        limit = [f + (n - 1) * stride + 1 for f, n, stride in zip(first, sites, strides, strict=True)]
        return lax.slice(padded, (0, *first, 0), (examples, *limit, channels), (1, *strides, 1))

    seen = [seen_at(place) for place in itertools.product(*map(range, window))]
    return jnp.concatenate(seen, axis=-1).reshape(-1, len(seen) * channels)


def _evaluate(program: ClosedJaxpr, arguments: Iterable[Any], wanted: list[Atom]) -> Callable[[Atom], Any]:
    """Run a traced program as far as the wanted values need it, with its calls in place; returns how to read them."""
    values: dict[Var, Any] = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
    values.update(zip(program.jaxpr.invars, arguments, strict=True))

    def read(atom: Atom) -> Any:
        return atom.val if isinstance(atom, Constant) else values[atom]

    for eqn in _needed(program.jaxpr.eqns, wanted):
        values.update(zip(eqn.outvars, _run(program.jaxpr, eqn, [read(atom) for atom in eqn.invars]), strict=True))
    return read


def _run(jaxpr: Jaxpr, eqn: JaxprEqn, inputs: list[Any]) -> list[Any]:
    """Run one operation: what it calls, or itself as a program (how to bind a primitive differs between versions)."""
    if eqn.primitive.name in CALLS:
        called: Any = eqn.params["jaxpr"] if "jaxpr" in eqn.params else eqn.params["call_jaxpr"]
        called = called if isinstance(called, ClosedJaxpr) else ClosedJaxpr(called, ())
        return list(map(_evaluate(called, inputs, called.jaxpr.outvars), called.jaxpr.outvars))
    variables = {atom: value for atom, value in zip(eqn.invars, inputs, strict=True) if isinstance(atom, Var)}
    alone = jaxpr.replace(constvars=(), invars=list(variables), outvars=eqn.outvars, eqns=[eqn], effects=eqn.effects)
    return jaxpr_as_fun(ClosedJaxpr(alone, ()))(*variables.values())


def _needed(eqns: list[JaxprEqn], wanted: list[Atom]) -> list[JaxprEqn]:
    """The operations that the wanted values depend on, in order."""
    needed, last_first = _variables(wanted), []
    for eqn in reversed(eqns):
        if not needed.isdisjoint(eqn.outvars):
            needed |= _variables(eqn.invars)
            last_first.append(eqn)
    return last_first[::-1]


def _shape(atom: Atom) -> tuple[int, ...]:
    return atom.aval.shape


def _variables(atoms: Iterable[Atom]) -> set[Var]:
    return {atom for atom in atoms if isinstance(atom, Var)}


def _flops(eqn: JaxprEqn) -> float:
    """Multiplications and additions of a matrix product or a convolution, and of those inside an operation."""
    out = math.prod(_shape(eqn.outvars[0]))
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return 2.0 * out * math.prod(_shape(eqn.invars[0])[axis] for axis in contracted)
    if eqn.primitive.name == "conv_general_dilated":
        kernel = _shape(eqn.invars[1])
        return 2.0 * out * math.prod(kernel) / kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
    inside = (sub for value in eqn.params.values() for sub in (value if isinstance(value, tuple) else (value,)))
    programs = [getattr(sub, "jaxpr", sub) for sub in inside if isinstance(sub, ClosedJaxpr | Jaxpr)]
    return float(eqn.params.get("length", 1) * sum(_flops(sub) for program in programs for sub in program.eqns))
