"""Are kernels, linearizations and trajectories of finite networks fast? Side by side with neural-tangents.

    python benchmarks/are_finite_networks_fast.py --peer PYTHON [--only "tangent kernel,steps"] [--seconds 40]

PYTHON is the interpreter of an environment with neural-tangents (benchmarks/README.md says how to make it).
Writes results/benchmarks/finite_networks.json, the table of benchmarks/README.md, and finite_networks.png beside it.
"""

import sys
from pathlib import Path

import numpy as np
from duel import arguments, rows_of
from figure import draw, speed_table, table, write_tables

HERE = Path(__file__).parent
RECORD = HERE.parent / "results" / "benchmarks" / "finite_networks.json"
PIXELS, OUTPUTS = 3072, 10
OURS, THEIRS, BY_HAND = "widelinear", "neural-tangents", "by hand"


def dense_params(width, depth, inputs=PIXELS, outputs=OUTPUTS):
    return (inputs + 1) * width + (depth - 1) * (width + 1) * width + (width + 1) * outputs


def dense_kernel(width, n, goal, sides=(OURS, THEIRS)):
    """Floor: the network, its derivatives layer by layer, and half of every Gram matrix of inputs and cotangents."""
    forward = 2 * n * (PIXELS * width + 2 * width**2 + width * OUTPUTS)
    backward = 2 * n * OUTPUTS * (2 * width**2 + width * OUTPUTS)
    grams = n**2 * (PIXELS + 3 * width) + (n * OUTPUTS) ** 2 * 3 * width
    return {
        "name": f"tangent kernel, 10 outputs, 3 × {width} network, {n} inputs"
        + (", written out by hand" if BY_HAND in sides else ""),
        "kind": "tangent kernel",
        "net": "fc",
        "depth": 3,
        "width": width,
        "outputs": OUTPUTS,
        "shape": [n, PIXELS],
        "method": "structured",
        "sides": sides,
        "goal": goal,
        "flops": forward + backward + grams,
        "bytes": 4 * (2 * dense_params(width, 3) + n * PIXELS + (n * OUTPUTS) ** 2),
    }


def image_kernel(net, n, method, goal):
    """Floor: the network, one derivative in its sites and one in its weights for each output, half of a Gram matrix."""
    sites = {"cnn": [1024, 1024], "resnet": [1024] * 3 + [256] * 3 + [64] * 3}[net]
    forward = 2 * 9 * 64 * (1024 * 3 + sum(sites) * 64)
    params = 9 * 64 * (3 + 64 * len(sites))
    return {
        "name": f"tangent kernel, 10 outputs, {'3 convolutions' if net == 'cnn' else 'wide residual network'} of 64, "
        f"{n} images, theirs by {method}",
        "kind": "tangent kernel",
        "net": net,
        "width": 64,
        "shape": [n, 32, 32, 3],
        "method": method,
        "goal": goal,
        "flops": n * forward * (1 + 2 * OUTPUTS) + (n * OUTPUTS) ** 2 * params,
        "bytes": 8 * n * OUTPUTS * params,
    }


def steps(name, sides, batch, goal, models=("linearized", "network")):
    """Floor: three products with every weight for the network, four for its linearization."""
    params = dense_params(2048, 5)
    return {
        "name": f"4 steps, 5 × 2048 network, 256 images: {name}",
        "kind": "steps",
        "net": "fc",
        "depth": 5,
        "width": 2048,
        "outputs": OUTPUTS,
        "rows": 1024 if batch else 256,
        "batch": batch,
        "rate": 1e-2,
        "steps": 4,
        "sides": sides,
        "models": models,
        "goal": goal,
        "rtol": 0.02,
        "flops": 4 * 2 * 4 * 256 * params,
        "bytes": 4 * 4 * 6 * params,
    }


def trajectories(k, goal, sides=(OURS, THEIRS)):
    n, times = 1000, 100
    return {
        "name": f"{n} + {n} trajectories at {times} times, {k} output{'s' * (k > 1)}"
        + (", the product alone" if BY_HAND in sides else ""),
        "kind": "trajectories",
        "sides": sides,
        "inputs": n,
        "outputs": k,
        "goal": goal,
        "flops": 2 * 2 * n * n * times * k,
        "bytes": 4 * (2 * n * n + 2 * n * times * k),
    }


def ensemble(goal):
    """Floor: half of the Gram matrices, one eigendecomposition, and at each time a product and half of another."""
    n, times = 1000, 10
    return {
        "name": f"mean and covariance of an ensemble, {n} + {n} inputs, {times} times",
        "kind": "ensemble",
        "inputs": n,
        "goal": goal,
        "rtol": 2e-2,
        "flops": 4 * n**2 * PIXELS + 4.67 * n**3 + 8 * n**3 + times * 3 * n**3,
        "bytes": 4 * times * n * n,
    }


def members(loop, goal, count=8, steps=500):
    """Floor: three products with every weight in a step."""
    params = dense_params(512, 3, 16, 1)
    return {
        "name": f"{count} networks 3 × 512, {steps} steps on 16 inputs, against a loop over {loop}",
        "kind": "members",
        "net": "fc",
        "depth": 3,
        "width": 512,
        "outputs": 1,
        "members": count,
        "steps": steps,
        "rate": 0.1,
        "loop": loop,
        "sides": [OURS, BY_HAND],
        "goal": goal,
        "flops": count * steps * 2 * 3 * 16 * params,
        "bytes": 0,
    }


def monte_carlo(kernel, n, goal, samples=20):
    """Floor: the random numbers, where no more coordinates are drawn for than inputs span."""
    params = dense_params(1024, 2, inputs=n, outputs=1)
    return {
        "name": f"{kernel} of {samples} random networks 2 × 1024, {n} inputs",
        "kind": "Monte Carlo",
        "net": "fc",
        "depth": 2,
        "width": 1024,
        "outputs": 1,
        "shape": [n, PIXELS],
        "kernel": kernel,
        "samples": samples,
        "goal": goal,
        "flops": samples * 2 * n * params,
        "bytes": samples * 8 * params,
        "normals": samples * params,
    }


CASES = [
    dense_kernel(512, 32, 0.5),
    dense_kernel(512, 32, None, (BY_HAND, THEIRS)),
    dense_kernel(512, 128, 0.5),
    dense_kernel(2048, 128, 0.7),
    image_kernel("cnn", 16, "jacobian", 1.0),
    image_kernel("cnn", 32, "jacobian", 1.0),
    image_kernel("resnet", 8, "jacobian", 1.0),
    steps("our linearization, our network", [OURS, f"{OURS}, network"], None, 1.3),
    steps("the same in minibatches", [OURS, f"{OURS}, network"], 256, 1.64),  # five products with a weight, not three
    steps("their linearization, their network", [THEIRS, f"{THEIRS}, network"], None, None),
    steps("our linearization, theirs", [OURS, THEIRS], None, 1.0, ("linearized", "linearized")),
    trajectories(1, 0.7),
    trajectories(1, None, (BY_HAND, THEIRS)),
    trajectories(10, 0.7),
    trajectories(10, None, (BY_HAND, THEIRS)),
    ensemble(0.6),
    members("compiled loops", 1.0),
    members("compiled steps", 1.0),
    members("wl.train", 1.0),
    monte_carlo("nngp", 128, 0.6),
    monte_carlo("ntk", 32, 0.6),
]
CASES = [{"dtype": "float32", "rtol": 1e-3} | case for case in CASES]


def agree(case, ours, theirs):
    """Within a part of the largest entry; for different random networks, within three standard errors over all."""
    if case["kind"] == "Monte Carlo":
        mean, error = ours
        assert np.mean((mean - theirs[0]) ** 2) < 3**2 * 2 * np.mean(error**2), case["name"]
        return
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape, case["name"]
        gap = np.abs(one - other).max() / np.abs(other).max()
        assert gap <= case["rtol"], f"{case['name']}: {gap}"


def contenders_for(case, peer):
    """One command for each side of the case."""
    ours, theirs = (sys.executable, HERE / "finite_ours.py"), (peer, HERE / "finite_theirs.py")
    commands = {OURS: ours, THEIRS: theirs, BY_HAND: (sys.executable, HERE / "finite_by_hand.py")}
    models = case.get("models", [None, None])
    return {
        side: (*commands[side.split(",")[0]], {"model": model})
        for side, model in zip(case.get("sides", [OURS, THEIRS]), models, strict=True)
    }


def main():
    options = arguments(__doc__)
    rows = rows_of(CASES, options, lambda case: contenders_for(case, options.peer), agree, RECORD, table)
    draw(rows, HERE / "finite_networks.png")
    write_tables(HERE / "README.md", "finite networks", speed_table(rows))


if __name__ == "__main__":
    main()
