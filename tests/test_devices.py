"""One device or eight: the same numbers. One process with eight virtual devices serves all checks."""

import pytest
from helpers import on_eight_devices

SCRIPT = """
import jax, jax.numpy as jnp, numpy as np, optax, widelinear as wl
from jax.sharding import Mesh
jax.config.update("jax_enable_x64", True)
assert jax.device_count() == 8
one, eight = (jax.make_mesh((n,), ("devices",), devices=jax.devices()[:n]) for n in (1, 8))
net = wl.mlp(depth=1, width=8, outputs=2, activation=wl.erf)
rng = np.random.default_rng(0)
x, y = jnp.asarray(rng.normal(size=(11, 3))), jnp.ones((11, 2))
params = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape)), jax.eval_shape(net.init, jax.random.key(0), x))

def gap(function):
    ours, theirs = function(eight), function(one)
    print(float(np.abs(np.asarray(ours) - np.asarray(theirs)).max() / np.abs(np.asarray(theirs)).max()), end=" ")
    return ours

kernel = gap(lambda mesh: wl.empirical_ntk(net.apply, params, x, mesh=mesh))
gap(lambda mesh: wl.empirical_ntk(net.apply, params, x, x[:3], outputs="mean", batch_size=4, mesh=mesh))
gap(lambda mesh: wl.train_ensemble(net.init, net.apply, jax.random.key(1), 11, x, y, optimizer=optax.adam(0.1),
                                   steps=[0, 5], record=lambda p: net.apply(p, x), mesh=mesh).records)
def train_on(mesh, net, x, **batches):
    start = net.init(jax.random.key(2), x)
    both, y = {"network": net.apply, "linear": wl.linearize(net.apply, start)}, jnp.ones((len(x), 2))
    return wl.train(both, dict.fromkeys(both, start), x, y, optimizer=optax.sgd(0.5, momentum=0.9), steps=[0, 1, 7],
                    record=lambda p: jnp.stack([both[name](p[name], x) for name in both]), mesh=mesh, **batches)

resnet = wl.wide_resnet(blocks=1, channels=4, outputs=2, pool=(1, 1))
images = jnp.asarray(rng.normal(size=(24, 4, 4, 1)))
gap(lambda mesh: train_on(mesh, resnet, images, batch_size=8, key=jax.random.key(3)).records)
gap(lambda mesh: train_on(mesh, net, x[:8]).records)
print(len(jax.tree.leaves(train_on(eight, net, x[:8]).params)[0].sharding.device_set), end=" ")
try:
    train_on(eight, net, x)
except ValueError as error:
    print("evenly," in str(error), end=" ")
print(len(wl.empirical_ntk(net.apply, params, x[:8], mesh=eight).sharding.device_set))
"""


@pytest.fixture(scope="module")
def printed():
    return on_eight_devices(SCRIPT).split()


WHAT = ("kernel", "blocks", "ensemble", "minibatches of a ResNet and its linearization", "full batch of an MLP and its")


@pytest.mark.parametrize(("place", "what"), list(enumerate(WHAT)), ids=WHAT)
def test_eight_devices_give_what_one_gives(printed, place, what):
    assert float(printed[place]) < 1e-12, what


def test_the_rows_of_a_kernel_and_copies_of_the_parameters_are_on_all_devices(printed):
    assert (printed[-3], printed[-1]) == ("8", "8")


def test_a_batch_that_devices_cannot_share_evenly_is_refused(printed):
    assert printed[-2] == "True"
