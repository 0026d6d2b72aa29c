from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = None

@test_case(points=1, hidden=False, 
    failure_message="Half of the threshold is a learning rate of one over the largest eigenvalue. There the loss falls in every step, and the kernel hardly moves.")
def test_below_the_threshold(catapult, jax, np):
    losses, start, end = map(np.asarray, catapult(jax.random.key(0), 0.5))
    assert losses.shape == (300,) and np.isclose(start, 1), f'η λ_max at the start is {start:.3f}'
    assert (np.diff(losses) <= 1e-12).all() and losses[-1] < 0.001 * losses[0]
    assert abs(end / start - 1) < 0.2, f'η λ_max moved from {start:.2f} to {end:.2f}'

