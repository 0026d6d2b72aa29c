"""An ensemble as one would train it by hand: one network after the other."""

import jax
import jax.numpy as jnp
import optax
from duel import drawn, serve
from finite_ours import network

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


def build(case):
    x, y = map(jnp.asarray, drawn("float32", (16, 16), (16, 1)))
    return LOOPS[case["loop"]](case, network(case), x, y)


if __name__ == "__main__":
    serve(build)
