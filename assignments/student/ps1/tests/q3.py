from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = None

@test_case(points=1, hidden=False, 
    failure_message="A second moment is a symmetric, positive semidefinite matrix with a row for each input.")
def test_it_is_a_second_moment(sampled_nngp, jax, np):
    x = np.random.default_rng(4).normal(size=(20, 4))
    moment = np.array(sampled_nngp(jax.random.key(1), x, 8, 50, 2 ** 0.5, 0.3))
    assert moment.shape == (20, 20)
    assert np.allclose(moment, moment.T) and np.linalg.eigvalsh(moment).min() > -1e-09

