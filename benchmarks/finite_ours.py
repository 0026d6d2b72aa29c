"""Finite networks by widelinear."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from duel import drawn, serve, weights

import widelinear as wl
from widelinear.loop import compiled_loop, models_on

SCALES = {"w_std": 2**0.5, "b_std": 0.1**0.5}


def network(case):
    return {
        "fc": lambda: wl.mlp(depth=case["depth"], width=case["width"], outputs=case["outputs"], **SCALES),
        "cnn": lambda: wl.cnn(depth=3, channels=case["width"], outputs=10, **SCALES),
        "resnet": lambda: wl.wide_resnet(blocks=1, channels=case["width"], outputs=10, **SCALES),
    }[case["net"]]()


def with_params(case, x):
    net = network(case)
    return net.apply, weights(jax.eval_shape(net.init, jax.random.key(0), x))


def tangent_kernel(case):
    x = jnp.asarray(drawn("float32", case["shape"])[0])
    apply, params = with_params(case, x)
    return lambda: [wl.empirical_ntk(apply, params, x)]


def steps(case):
    x, y = map(jnp.asarray, drawn("float32", (case["rows"], 3072), (case["rows"], 10)))
    apply, params = with_params(case, x)
    model = wl.linearize(apply, params) if case["model"] == "linearized" else apply
    optimizer, key = optax.sgd(case["rate"]), case["batch"] and jax.random.key(0)
    advance, on_x = compiled_loop(wl.mse_loss, optimizer, case["batch"]), models_on(x, {"": model}, case["batch"])

    def run():
        trained, _ = advance({"": params}, {"": optimizer.init(params)}, 0, case["steps"], on_x, x, y, key)
        last = "layers_10"
        return [(trained[""]["params"][last]["w"] - params["params"][last]["w"]) / case["rate"]]

    return run


def linear_model(case):
    """What is known before any time is asked for: a test kernel in the modes of the training kernel, and outputs."""
    n, k = case["inputs"], case["outputs"]
    x, x_test, y, f0, f0_test = map(jnp.asarray, drawn("float32", (n, 3072), (n, 3072), (n, k), (n, k), (n, k)))
    ntk = wl.kernel_matrix(wl.mlp(depth=3, width=1, **SCALES), jnp.concatenate([x, x_test])).ntk[:, :n]
    of, times = wl.modes(ntk[:n]), wl.from_mean_loss(jnp.logspace(0, 6, 100), y)
    by_kernel = jax.grad(lambda ntk: wl.predict(ntk, ntk, y[:4], f0[:4], times).sum())
    assert np.isfinite(jax.jit(jax.vmap(by_kernel))(ntk[:4, :4][None])).all()  # inside jit, vmap and grad
    return of.project(ntk), of, y - f0, jnp.concatenate([f0, f0_test]), times


def trajectories(case):
    known, predict = linear_model(case), jax.jit(wl.predict)
    return lambda: [predict(*known)]


def ensemble(case):
    n = case["inputs"]
    x, x_test, y = map(jnp.asarray, drawn("float32", (n, 3072), (n, 3072), (n, 1)))
    net, times = wl.mlp(depth=3, width=1, **SCALES), wl.from_mean_loss(10.0 ** jnp.arange(10), y)

    def run():
        both = wl.kernel_matrix(net, jnp.concatenate([x, x_test]))
        kernels, kernels_test = (wl.Kernels(*(k[rows, :n] for k in both)) for rows in (slice(n), slice(n, None)))
        trained = wl.predict_ensemble(kernels, kernels_test, both.nngp[n:, n:], y, times)
        return [trained.mean, trained.cov]

    return run


def members(case):
    x, y = map(jnp.asarray, drawn("float32", (16, 16), (16, 1)))
    net, optimizer = network(case), optax.sgd(case["rate"])

    def outputs(params):
        return net.apply(params, x)

    def run():
        trained = wl.train_ensemble(
            net.init,
            net.apply,
            jax.random.key(0),
            case["members"],
            x,
            y,
            optimizer=optimizer,
            steps=[case["steps"]],
            record=outputs,
        )
        return [trained.records[-1]]

    return run


def monte_carlo(case):
    x = jnp.asarray(drawn("float32", case["shape"])[0])
    net, which = network(case), case["kernel"]

    def run():
        sampled = wl.monte_carlo_kernels(net.init, net.apply, x, key=jax.random.key(0), samples=case["samples"])
        return [getattr(sampled.mean, which), getattr(sampled.standard_error, which)]

    return run


TASKS = {
    "tangent kernel": tangent_kernel,
    "steps": steps,
    "trajectories": trajectories,
    "ensemble": ensemble,
    "members": members,
    "Monte Carlo": monte_carlo,
}

if __name__ == "__main__":
    serve(lambda case: TASKS[case["kind"]](case))
