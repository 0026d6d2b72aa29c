from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = None

@test_case(points=1, hidden=False, 
    failure_message="A change relative to the start is a positive number of order one or less, and larger in mean-field scaling.")
def test_mean_field_moves_its_kernel(kernel_change, jax):
    ntk, mean_field = (float(kernel_change(jax.random.key(0), 512, scaling)) for scaling in ('ntk', 'mean field'))
    assert 0 < 5 * ntk < mean_field < 3, f'came {ntk:.3g} and {mean_field:.3g}'

