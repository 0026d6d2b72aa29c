from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = None

@test_case(points=1, hidden=False, 
    failure_message="A network's own kernel predicts it better than the kernel of infinite width.")
def test_its_own_kernel_is_better(two_gaps, jax):
    own, infinite = two_gaps(jax.random.key(0), 1024)
    assert 0 < own < infinite, f'came {own:.3g} and {infinite:.3g}'

