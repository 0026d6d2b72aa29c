from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = None

@test_case(points=1, hidden=False, 
    failure_message="Equal inputs are on together half of the time, inputs at a right angle a quarter, opposite ones never; lengths do not matter.")
def test_three_angles_by_hand(relu_dual_dot, np):
    found = relu_dual_dot(np.array([2.0, 0.0, -2.0]), np.full(3, 4.0), np.ones(3))
    assert np.allclose(found, [1 / 2, 1 / 4, 0.0], atol=1e-06), f'came {found}'

@test_case(points=1, hidden=False, 
    failure_message="With a squared weight scale of 2 every layer adds its own NNGP kernel to the diagonal, and the bias adds its variance once in each.")
def test_the_diagonal_is_a_sum_over_layers(kernels, np):
    x = np.array([[1.0, 1.0]])
    for depth, (nngp, ntk) in {0: (2.1, 2.1), 1: (2.2, 2.1 + 2.2), 3: (2.4, 2.1 + 2.2 + 2.3 + 2.4)}.items():
        found = kernels(x, x, depth, 2 ** 0.5, 0.1 ** 0.5)
        assert np.allclose(np.ravel(found), [nngp, ntk], rtol=1e-06), f'{depth}: came {found}'

