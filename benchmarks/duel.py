"""Two programs do the same work in turn, each in its own environment, and answer to one stopwatch.

A contender is a Python file with a function `build(case)` that returns what to run. `serve` turns it into a process
that takes orders line by line; `duel` starts two of them, compares their results, and only then starts the clock:
A B A B …, because a shared machine drifts. CPU time is that of the whole process, over two cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np

CORES = 2
# A second thread of OpenBLAS waits busily after an eigendecomposition, and takes CPU time from what comes next.
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu", "OPENBLAS_NUM_THREADS": "1"}
TURN = 0.2  # seconds; a turn makes as many calls as fit, because a clock of CPU time is coarse


def memory():
    """Resident memory now, and its peak since the last reset, in MB."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return [int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")]


def timed(run, calls=1):
    """What the last of some calls returns, and the wall and CPU seconds of one."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        result = None  # two at a time would count as memory
        result = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return result, {"wall": wall / calls, "cpu": cpu / calls / CORES}


def drawn(dtype, *shapes):
    """The same random numbers for every contender."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def weights(params, dtype="float32"):
    """The same parameters for every contender: each is known by its shape, and by how many like it came before."""
    import jax

    before = Counter()

    def draw(leaf):
        shape = tuple(size for size in leaf.shape if size > 1)
        before[shape] += 1
        return jax.numpy.asarray(np.random.default_rng([*shape, before[shape]]).standard_normal(leaf.shape), dtype)

    return jax.tree_util.tree_map(draw, params)


def inputs(case):
    """The same inputs for both: one set or two; with `near`, its second half nearly repeats the first."""
    x1, x2 = drawn("float64", case["shape"], case["shape"])
    if "near" in case:
        half = len(x1) // 2
        x1[half:] = x1[:half] + case["near"] * x1[half:]
    return x1.astype(case["dtype"]), x2.astype(case["dtype"]) if case["two_sets"] else None


def serve(build):
    """Take orders: `first` builds, runs and saves the result; `go` runs again; `floor` measures the machine."""
    import jax

    case = json.loads(sys.argv[1])
    jax.config.update("jax_enable_x64", case["dtype"] == "float64")
    run = build(case)

    def finished():
        return jax.block_until_ready(run())

    calls = 1
    for order in sys.stdin:
        name, *path = order.split()
        if name == "first":
            result, answer = timed(finished)
            np.savez(path[0], *[np.asarray(part) for part in result])
            result = None
            calls = max(1, int(TURN / timed(finished)[1]["wall"]))
        elif name == "go":
            Path("/proc/self/clear_refs").write_text("5")
            before = memory()[0]
            result, answer = timed(finished, calls)
            size = sum(part.nbytes for part in result) / 2**20
            answer["extra_mb"] = max(0.0, memory()[1] - before - size)
        else:
            answer = floor(case["dtype"])
        print(json.dumps(answer), flush=True)
        result = None


def floor(dtype):
    """What the machine can do in a second, over two cores: flops in matrix products, bytes moved, random normals."""
    import jax
    import jax.numpy as jnp

    a, long = jnp.ones((2048, 2048), dtype), jnp.ones(2**26, jnp.float32)
    product, triad = jax.jit(lambda a: a @ a), jax.jit(lambda a: a + 1.5, donate_argnums=0)
    product(a).block_until_ready()
    flops = 2 * 2048**3 / min(timed(lambda: product(a).block_until_ready())[1]["cpu"] for _ in range(5))
    walls = []
    for _ in range(5):
        long, spent = timed(lambda long=long: triad(long).block_until_ready())
        walls.append(spent["wall"])
    normals = jax.jit(lambda key, n: jax.random.normal(key, (n,), jnp.float32), static_argnums=1)
    speeds = []
    for number in [2**18, 2**20] * 5:  # which stay in cache
        draw = timed(lambda n=number: normals(jax.random.PRNGKey(0), n).block_until_ready(), 2**24 // number)[1]
        speeds.append(number / draw["cpu"])
    return {"flops": flops, "bytes": 2 * long.nbytes / min(walls), "normals": max(speeds)}


class Contender:
    """One process that takes orders."""

    def __init__(self, case, python, file, **changes):
        environment = os.environ | ENVIRONMENT
        self.process = subprocess.Popen(
            [python, str(file), json.dumps(case | changes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def order(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(self.process.stderr.read()[-2000:])
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def start(case, contenders):
    """The contenders after their first calls, with what these took and what they returned."""
    running = {name: Contender(case, python, file, **changes) for name, (python, file, changes) in contenders.items()}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: f"{folder}/{number}.npz" for number, name in enumerate(contenders)}
        first = {name: running[name].order("first", paths[name]) for name in contenders}
        results = [[saved[key] for key in saved] for saved in (np.load(path) for path in paths.values())]
    return running, first, results


def duel(case, contenders, agree, seconds=40.0):
    """The contenders on one case: first calls, the comparison of results, then turns until the time is up."""
    names, turns = list(contenders), {name: [] for name in contenders}
    running, first, results = start(case, contenders)
    agree(case, *results)
    end = time.monotonic() + seconds
    while len(turns[names[0]]) < 3 or (time.monotonic() < end and len(turns[names[0]]) < 9):
        for name in names:
            turns[name].append(running[name].order("go"))
    machine = running[names[0]].order("floor")
    for contender in running.values():
        contender.close()
    best = {name: {key: min(turn[key] for turn in turns[name]) for key in turns[name][0]} for name in names}
    for name in names:
        best[name]["first_call_cpu"] = first[name]["cpu"]
        best[name]["extra_mb"] = max(turn["extra_mb"] for turn in turns[name])
    return {"case": case, "turns": len(turns[names[0]]), "machine": machine} | best


def arguments(doc):
    """What every benchmark is asked on its command line."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="the Python interpreter that has neural-tangents")
    parser.add_argument("--only", default="", help="kinds of cases to run; the record keeps the others")
    parser.add_argument("--seconds", type=float, default=40.0, help="for the turns of one case")
    return parser.parse_args()


def keep(record, **parts):
    """Put parts into a record, beside what it has."""
    record.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(record.read_text()) if record.exists() else {}
    record.write_text(json.dumps(before | {"date": str(date.today())} | parts, indent=1) + "\n")


def rows_of(cases, options, contenders, agree, record, show):
    """Duels on the chosen kinds of cases, in the order of all cases; what was not run comes from the record."""
    rows = {row["case"]["name"]: row for row in json.loads(record.read_text())["rows"]} if record.exists() else {}
    for case in cases:
        if not options.only or case["kind"] in options.only.split(","):
            rows[case["name"]] = duel(case, contenders(case), agree, options.seconds)
            print(show([rows[case["name"]]]), flush=True)
            keep(record, rows=[rows[each["name"]] for each in cases if each["name"] in rows])
    return [rows[case["name"]] for case in cases if case["name"] in rows]
