"""How far is a training step of the wide ResNet from what the machine can do?

    .venv/bin/python benchmarks/how_fast_is_a_resnet_step.py

A network and its linearization train as in Figure 4, on images of 32 × 32 in batches of 8, with momentum. XLA counts
the operations of a forward pass; a step of the network is three of them, one of its linearization five. The speed of
matrix products is measured before each case, because a shared machine drifts.
"""

import time
from pathlib import Path

import jax
import optax
from duel import CORES, floor, keep
from figure import write_tables

import widelinear as wl

HERE = Path(__file__).parent
RECORD = HERE.parent / "results" / "benchmarks" / "resnet_step.json"
BATCH, PASSES, STEPS = 8, {"network": 3, "linearization": 5}, {32: 64, 64: 24, 128: 8}
MOMENTUM = optax.sgd(0.1, momentum=0.9)


def whole(params):
    """What is recorded: everything, so that nothing else is computed."""
    return params


def seconds_a_step(model, start, x, y, steps):
    """Wall and CPU seconds over two cores of a step, without compiling and recording."""

    def spent(last):
        wall, cpu = time.perf_counter(), time.process_time()
        wl.train(
            model, start, x, y, optimizer=MOMENTUM, batch_size=BATCH, key=jax.random.key(0), steps=[last], record=whole
        )
        return time.perf_counter() - wall, (time.process_time() - cpu) / CORES

    spent(1)
    turns = [(spent(1), spent(1 + steps)) for _ in range(3)]
    return [min((long[i] - short[i]) / steps for short, long in turns) for i in range(2)]


def measure(channels):
    """Both models of one number of channels."""
    keys = jax.random.split(jax.random.key(channels), 3)
    x, y = jax.random.normal(keys[0], (64, 32, 32, 3)), jax.random.normal(keys[1], (64, 10))
    net = wl.wide_resnet(blocks=1, channels=channels, pool=(8, 8))
    start = jax.jit(net.init)(keys[2], x[:1])
    forward = jax.jit(net.apply).lower(start, x[:BATCH]).cost_analysis()["flops"]
    models = {"network": net.apply, "linearization": wl.linearize(net.apply, start)}
    for name, model in models.items():
        peak = floor("float32")["flops"]
        wall, cpu = seconds_a_step(model, start, x, y, STEPS[channels])
        yield {
            "channels": channels,
            "model": name,
            "wall": wall,
            "cpu": cpu,
            "flops": PASSES[name] * forward,
            "peak": peak,
        }


def table(rows):
    """Every case as a line of Markdown."""
    yield "| channels | model | seconds a step | CPU | GFLOP a step | GFLOP/s | over the floor |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        speed, peak = row["flops"] / row["cpu"], row["peak"]
        yield (
            f"| {row['channels']} | {row['model']} | {row['wall']:.3f} | {row['cpu']:.3f} | {row['flops'] / 1e9:.2f} "
            f"| {speed / 1e9:.0f} | {peak / speed:.1f} |"
        )


def main():
    rows = []
    for channels in STEPS:
        rows += measure(channels)
        print(*table(rows[-2:]), sep="\n", flush=True)
    keep(RECORD, rows=rows)
    write_tables(HERE / "README.md", "resnet step", table(rows))


if __name__ == "__main__":
    main()
