from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = None

@test_case(points=1, hidden=False, 
    failure_message="One step moves g by the kernel of g times the slope of tanh times the residual.")
def test_one_step_by_hand(repaired, np):
    g0, y, ntk = (np.array([[0.0], [1.0]]), np.array([[1.0], [0.0]]), np.array([[2.0, 1.0], [1.0, 3.0]]))
    pull = np.array([[1.0], [-(1 - np.tanh(1) ** 2) * np.tanh(1)]])
    assert np.allclose(repaired(ntk, g0, y, 0.1, 1), np.tanh(g0 + 0.1 * ntk @ pull))
    assert np.allclose(repaired(ntk, g0, y, 0.1, 0), np.tanh(g0))

