"""Finite networks by neural-tangents, compiled as its users compile them."""

import jax
import jax.numpy as jnp
import neural_tangents as nt
from duel import drawn, serve, weights
from neural_tangents import predict, stax

SCALES = (2**0.5, 0.1**0.5)
METHODS = {"jacobian": 1, "vector products": 2, "structured": 3}


def conv(channels, stride=1):
    return stax.Conv(channels, (3, 3), (stride, stride), "SAME", *SCALES)


def block(channels, stride):
    branch = stax.serial(stax.Relu(), conv(channels, stride), stax.Relu(), conv(channels))
    return stax.serial(stax.FanOut(2), stax.parallel(conv(channels, stride), branch), stax.FanInSum())


def network(case):
    width = case["width"]
    if case["net"] == "fc":
        hidden = [layer for _ in range(case["depth"]) for layer in (stax.Dense(width, *SCALES), stax.Relu())]
        return stax.serial(*hidden, stax.Dense(case["outputs"], *SCALES))
    if case["net"] == "cnn":
        hidden = [layer for _ in range(3) for layer in (conv(width), stax.Relu())]
    else:
        hidden = [conv(width), *(block(width, stride) for stride in (1, 2, 2))]
    return stax.serial(*hidden, stax.GlobalAvgPool(), stax.Dense(10, *SCALES))


def with_params(case, x):
    init, apply, _ = network(case)
    shapes = jax.eval_shape(lambda key: init(key, x.shape)[1], jax.random.PRNGKey(0))
    return apply, weights(shapes)


def infinite():
    hidden = [layer for _ in range(3) for layer in (stax.Dense(1, *SCALES), stax.Relu())]
    return stax.serial(*hidden, stax.Dense(1, *SCALES))[2]


def tangent_kernel(case):
    x = jnp.asarray(drawn("float32", case["shape"])[0])
    apply, params = with_params(case, x)
    method = METHODS[case["method"]]
    kernel = jax.jit(nt.empirical_ntk_fn(apply, trace_axes=(), vmap_axes=0, implementation=method))
    return lambda: [kernel(x, None, params)]


def steps(case):
    x, y = map(jnp.asarray, drawn("float32", (case["rows"], 3072), (case["rows"], 10)))
    apply, params0 = with_params(case, x)

    @jax.jit
    def step(params, params0, x, y):
        model = nt.linearize(apply, params0) if case["model"] == "linearized" else apply
        gradient = jax.grad(lambda p: jnp.mean((model(p, x) - y) ** 2) / 2)(params)
        return jax.tree_util.tree_map(lambda p, g: p - case["rate"] * g, params, gradient)

    def run():
        params = params0
        for _ in range(case["steps"]):  # a compiled loop of JAX 0.4.25 gets the linearization wrong by 13 % on a CPU
            params = step(params, params0, x, y)
        return [(params[-1][0] - params0[-1][0]) / case["rate"]]

    return run


def trajectories(case):
    n, k = case["inputs"], case["outputs"]
    x, x_test, y, f0, f0_test = map(jnp.asarray, drawn("float32", (n, 3072), (n, 3072), (n, k), (n, k), (n, k)))
    kernel, times = infinite(), jnp.logspace(0, 6, 100)
    ntk_test = kernel(x_test, x, "ntk")
    predictor = predict.gradient_descent_mse(kernel(x, None, "ntk"), y)  # factorises
    run = jax.jit(lambda *arguments: jnp.concatenate(predictor(*arguments), axis=1))
    return lambda: [run(times, f0, f0_test, ntk_test)]


def ensemble(case):
    n = case["inputs"]
    x, x_test, y = map(jnp.asarray, drawn("float32", (n, 3072), (n, 3072), (n, 1)))
    kernel, times = infinite(), 10.0 ** jnp.arange(10)

    @jax.jit
    def run(x, y, x_test):
        predictor = predict.gradient_descent_mse_ensemble(kernel, x, y)
        trained = predictor(x_test=x_test, t=times, get="ntk", compute_cov=True)
        return trained.mean, trained.covariance

    return lambda: run(x, y, x_test)


def monte_carlo(case):
    x = jnp.asarray(drawn("float32", case["shape"])[0])
    init, apply, _ = network(case)
    which = case["kernel"]
    kernel = nt.monte_carlo_kernel_fn(
        init, apply, jax.random.PRNGKey(0), case["samples"], implementation=METHODS["structured"], vmap_axes=0
    )
    return lambda: [kernel(x, None, which)]


TASKS = {
    "tangent kernel": tangent_kernel,
    "steps": steps,
    "trajectories": trajectories,
    "ensemble": ensemble,
    "Monte Carlo": monte_carlo,
}

if __name__ == "__main__":
    serve(lambda case: TASKS[case["kind"]](case))
