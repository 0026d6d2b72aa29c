from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = None

@test_case(points=1, hidden=False, 
    failure_message="A linear model has the kernel x·x' for each output, and none between different outputs.")
def test_a_linear_model(empirical_ntk, np):
    x1, x2 = np.split(np.random.default_rng(0).normal(size=(9, 3)), [4])
    kernel = empirical_ntk(lambda w, x: x @ w, np.ones((3, 2)), x1, x2)
    assert kernel.shape == (4, 5, 2, 2)
    assert np.allclose(kernel, (x1 @ x2.T)[:, :, None, None] * np.eye(2))

@test_case(points=1, hidden=False, 
    failure_message="Exchanging the inputs exchanges the outputs too, and as one matrix the kernel is positive semidefinite.")
def test_symmetry(empirical_ntk, jax, jnp, np, wl):
    x = jnp.array(np.random.default_rng(2).normal(size=(5, 3)))
    net = wl.mlp(depth=2, width=8, outputs=2, activation=wl.erf, w_std=1.4, b_std=0.5)
    params = jax.jit(net.init)(jax.random.key(3), x)
    kernel = np.array(empirical_ntk(net.apply, params, x, x))
    assert np.allclose(kernel, kernel.transpose(1, 0, 3, 2))
    assert np.linalg.eigvalsh(kernel.transpose(0, 2, 1, 3).reshape(10, 10)).min() > -1e-09

