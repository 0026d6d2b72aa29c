"""By hand: networks trained one after the other, the tangent kernel of a dense network, the product of trajectories."""

import jax
import jax.numpy as jnp
import optax
from duel import drawn, serve
from finite_ours import SCALES, linear_model, network, with_params

import widelinear as wl


def by_compiled_loops(case, net, x, y):
    """One compiled loop, called for every member."""
    optimizer = optax.sgd(case["rate"])

    @jax.jit
    def member(key):
        params = net.init(key, x)

        def step(carry, _):
            params, state = carry
            gradient = jax.grad(lambda p: wl.mse_loss(net.apply(p, x), y))(params)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=case["steps"])
        return net.apply(params, x)

    def run():
        keys = [jax.random.fold_in(jax.random.key(0), number) for number in range(case["members"])]
        return [jnp.stack([member(key) for key in keys])]

    return run


def by_compiled_steps(case, net, x, y):
    """One compiled step, called from Python for every step of every member."""
    optimizer, init = optax.sgd(case["rate"]), jax.jit(net.init)

    @jax.jit
    def step(params, state):
        gradient = jax.grad(lambda p: wl.mse_loss(net.apply(p, x), y))(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state

    def member(number):
        params = init(jax.random.fold_in(jax.random.key(0), number), x)
        state = optimizer.init(params)
        for _ in range(case["steps"]):
            params, state = step(params, state)
        return net.apply(params, x)

    return lambda: [jnp.stack([member(number) for number in range(case["members"])])]


def by_train(case, net, x, y):
    """`wl.train`, called for every member."""
    init, optimizer = jax.jit(net.init), optax.sgd(case["rate"])

    def outputs(params):
        return net.apply(params, x)

    def member(number):
        start = init(jax.random.fold_in(jax.random.key(0), number), x)
        steps = [case["steps"]]
        return wl.train(net.apply, start, x, y, optimizer=optimizer, steps=steps, record=outputs).records[-1]

    return lambda: [jnp.stack([member(number) for number in range(case["members"])])]


LOOPS = {"compiled loops": by_compiled_loops, "compiled steps": by_compiled_steps, "wl.train": by_train}


def tangent_kernel(case):
    """Of a ReLU network: forward, the cotangents of every layer back, and a product of two Gram matrices for each."""
    x = jnp.asarray(drawn("float32", case["shape"])[0])
    params = with_params(case, x)[1]["params"]

    @jax.jit
    def kernel(params, x):
        weights = [layer["w"] * SCALES["w_std"] / len(layer["w"]) ** 0.5 for layer in params.values()]
        inputs, active = [x], []
        for w, layer in zip(weights[:-1], params.values(), strict=False):
            h = inputs[-1] @ w + SCALES["b_std"] * layer["b"]
            active.append(h > 0)
            inputs.append(jnp.maximum(h, 0))
        n, k = len(x), case["outputs"]
        cotangents, total = jnp.broadcast_to(jnp.eye(k), (n, k, k)), 0.0
        for number in reversed(range(len(weights))):
            rows = cotangents.reshape(n * k, -1)
            gram = (
                SCALES["w_std"] ** 2 / len(weights[number]) * (inputs[number] @ inputs[number].T) + SCALES["b_std"] ** 2
            )
            total += gram[:, None, :, None] * (rows @ rows.T).reshape(n, k, n, k)
            if number:
                cotangents = (rows @ weights[number].T).reshape(n, k, -1) * active[number - 1][:, None]
        return total.transpose(0, 2, 1, 3)

    return lambda: [kernel(params, x)]


def trajectories(case):
    """What is left of a prediction where it is known how far each mode is learnt."""
    projected, of, residual, start, times = linear_model(case)
    learnt = -jnp.expm1(-of.rates * times[:, None]) / of.rates
    columns = (learnt[:, None] * (residual.T @ of.vectors)).reshape(-1, len(residual))

    @jax.jit
    def outputs(columns, kernel, start):
        products = (columns @ kernel).reshape(len(times), case["outputs"], -1)
        return start + products.swapaxes(1, 2)

    return lambda: [outputs(columns, projected.kernel, start)]


def build(case):
    if case["kind"] == "tangent kernel":
        return tangent_kernel(case)
    if case["kind"] == "trajectories":
        return trajectories(case)
    x, y = map(jnp.asarray, drawn("float32", (16, 16), (16, 1)))
    return LOOPS[case["loop"]](case, network(case), x, y)


if __name__ == "__main__":
    serve(build)
