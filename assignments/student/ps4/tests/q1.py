from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = None

@test_case(points=1, hidden=False, 
    failure_message="Nothing is learnt in no steps. After very many, the training inputs answer to their own targets alone.")
def test_both_ends(response, ntk, TRAIN, np):
    kernel = ntk[:TRAIN, :TRAIN]
    assert np.allclose(response(kernel, kernel, 0.05, 0), 0)
    assert np.allclose(response(kernel, kernel, 0.05, 10000000), np.eye(TRAIN), atol=1e-06)

@test_case(points=1, hidden=False, 
    failure_message="One step moves the outputs by learning rate times kernel times residual.")
def test_one_step(response, ntk, TRAIN, np):
    assert np.allclose(response(ntk[:, :TRAIN], ntk[:TRAIN, :TRAIN], 0.05, 1), 0.05 * ntk[:, :TRAIN])

