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


def by_train(case, net, x, y):
    """`wl.train`, called for every member."""
    init = jax.jit(net.init)

    def member(number):
        return wl.train(
            net.apply,
            init(jax.random.fold_in(jax.random.key(0), number), x),
            x,
            y,
            optimizer=optax.sgd(case["rate"]),
            steps=[case["steps"]],
            record=lambda params: net.apply(params, x),
        ).records[-1]

    return lambda: [jnp.stack([member(number) for number in range(case["members"])])]


def build(case):
    x, y = map(jnp.asarray, drawn("float32", (16, 16), (16, 1)))
    return {"compiled loops": by_compiled_loops, "wl.train": by_train}[case["loop"]](case, network(case), x, y)


if __name__ == "__main__":
    serve(build)
