"""Are the kernels of infinite networks fast, small and exact? Side by side with neural-tangents.

    python benchmarks/are_infinite_kernels_fast.py --peer PYTHON [--only fc,conv] [--seconds 40]

PYTHON is the interpreter of an environment with neural-tangents (benchmarks/README.md says how to make it).
Writes results/benchmarks/infinite_kernels.json, the tables of benchmarks/README.md, and infinite_kernels.png beside it.
"""

import sys
from pathlib import Path

import numpy as np
from duel import arguments, keep, rows_of, start
from figure import draw, precision_table, speed_table, table, write_tables

HERE = Path(__file__).parent
RECORD = HERE.parent / "results" / "benchmarks" / "infinite_kernels.json"


def fc(activation, n, dtype, goal=0.6):
    case = {"kind": "fc", "activation": activation, "depth": 5, "shape": [n, 3072], "dtype": dtype, "two_sets": False}
    size = np.dtype(dtype).itemsize
    # Half of a symmetric matrix product, and both results written once.
    return case | {
        "name": f"fully connected, {activation}, {n} inputs, {dtype}",
        "goal": goal,
        "flops": n * n * 3072,
        "bytes": n * 3072 * size + 2 * n * n * size,
    }


def conv(pool, n, side, dtype, goal):
    case = {"kind": "conv", "pool": pool, "shape": [n, side, side, 3], "dtype": dtype, "two_sets": True}
    entries = n * n * side ** (4 if pool else 2)
    # Three layers, each two sums of 3 × 3 windows by axes (2 × 8 additions) and about 25 operations of the dual maps.
    return case | {
        "name": f"3 convolutions, {'pooled' if pool else 'flattened'}, {n} × {n} images of {side} × {side}, {dtype}",
        "goal": goal,
        "flops": entries * 3 * 33,
        "bytes": 12 * entries * np.dtype(dtype).itemsize if pool else 0,
    }


def resnet(n, goal=0.3):
    entries = n * n * (16**4 * 4 + 8**4 * 4 + 4**4 * 4)
    return {
        "name": f"wide residual network, {n} × {n} images of 16 × 16, float32",
        "kind": "resnet",
        "shape": [n, 16, 16, 3],
        "dtype": "float32",
        "two_sets": True,
        "goal": goal,
        "flops": entries * 33,
        "bytes": entries * 16,
    }


CASES = [
    *(
        fc(activation, n, dtype)
        for dtype in ("float32", "float64")
        for activation in ("relu", "erf")
        for n in (1000, 2000, 4000)
    ),
    *(conv(False, n, 32, dtype, 0.3) for dtype in ("float32", "float64") for n in (20, 100)),
    conv(True, 4, 32, "float32", 0.15),
    conv(True, 8, 32, "float32", 0.15),
    conv(True, 4, 32, "float64", 0.3),
    resnet(4),
    resnet(8),
]


def agree(case, ours, theirs):
    """Entry by entry, but for the diagonal, where theirs is right to √ε only."""
    rtol = {"float32": 1e-3, "float64": 1e-8}[case["dtype"]]
    for one, other in zip(ours, theirs, strict=True):
        off = ~np.eye(len(one), dtype=bool) if not case["two_sets"] else np.ones_like(one, bool)
        np.testing.assert_allclose(one[off], other[off], rtol=rtol)


def precise(activation, depth, contenders):
    """Errors of the tangent kernel in float32 against ours in float64; half of the inputs nearly repeat the others."""
    case = {
        "kind": "fc",
        "activation": activation,
        "depth": depth,
        "shape": [200, 3072],
        "two_sets": False,
        "near": 1e-3,
    }
    kernels = {}
    for dtype in ("float64", "float32"):
        running, _, results = start(case | {"dtype": dtype}, contenders)
        for contender in running.values():
            contender.close()
        kernels[dtype] = [ntk.astype(float) for _, ntk in results]
    exact = kernels["float64"][0]
    row = {"activation": activation, "depth": depth, "smallest eigenvalue": float(np.linalg.eigvalsh(exact)[0])}
    for name, ntk in zip(contenders, kernels["float32"], strict=True):
        error, pairs = np.abs(ntk / exact - 1), np.arange(100)
        row[name] = {
            "diagonal": float(np.diag(error).max()),
            "near repetitions": float(error[pairs, pairs + 100].max()),
            "smallest eigenvalue": float(np.linalg.eigvalsh(ntk)[0]),
        }
    return row


def main():
    options = arguments(__doc__)
    contenders = {
        "widelinear": (sys.executable, HERE / "infinite_ours.py", {}),
        "neural-tangents": (options.peer, HERE / "infinite_theirs.py", {}),
    }
    rows = rows_of(CASES, options, lambda case: contenders, agree, RECORD, table)
    precision = [precise(activation, depth, contenders) for activation in ("relu", "erf") for depth in (5, 20)]
    print("\n".join(precision_table(precision)), flush=True)
    keep(RECORD, precision=precision)
    draw(rows, HERE / "infinite_kernels.png")
    write_tables(HERE / "README.md", "infinite kernels", speed_table(rows), precision_table(precision))


if __name__ == "__main__":
    main()
