from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = None

@test_case(points=1, hidden=False, 
    failure_message="For one hidden layer of ReLU the excess kurtosis is 15 over the width, exactly.")
def test_fifteen_over_the_width(excess_kurtosis, jax):
    found = excess_kurtosis(jax.random.key(0), 16, 20000)
    assert abs(found / (15 / 16) - 1) < 0.1, f'came {found:.3f}, expected {15 / 16:.3f}'

