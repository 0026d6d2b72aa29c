from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = None

@test_case(points=1, hidden=False, 
    failure_message="With eigenvalues 1 and 3 the slow and the fast mode meet at a step of 1/2, where both shrink by 1/2, and the fast one explodes above 2/3.")
def test_two_modes(contraction, thresholds, np):
    ntk = np.diag([3.0, 1.0])
    assert np.allclose(thresholds(ntk), [1 / 2, 2 / 3]), f'came {thresholds(ntk)}'
    assert np.allclose([contraction(ntk, rate) for rate in (0.1, 1 / 2, 2 / 3, 1.0)], [0.9, 0.5, 1, 2])

