from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = None

@test_case(points=2, hidden=False, 
    failure_message="One weight, one example. With the summed loss, half of the square, a step of 1/2 halves the residual.")
def test_one_weight(descend, np):
    x, y = (np.ones((1, 1)), np.ones((1, 1)))
    found = descend(lambda w, x: x @ w, np.zeros((1, 1)), x, y, 0.5, 3)
    assert found.shape == (4, 1, 1)
    assert np.allclose(np.ravel(found), [0, 1 / 2, 3 / 4, 7 / 8]), f'came {np.ravel(found)}'

