from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = None

@test_case(points=1, hidden=False, 
    failure_message="One positive number for each width, smaller where the network is wider.")
def test_wider_is_closer(kernel_errors, jax, np, jnp):
    x = jnp.array(np.random.default_rng(3).normal(size=(6, 4)))
    errors = np.array(kernel_errors(jax.random.key(1), x, [16, 1024], 8))
    assert errors.shape == (2,) and errors[0] > 2 * errors[1] > 0

