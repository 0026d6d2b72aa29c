from otter.test_files import test_case

OK_FORMAT = False

name = "q4"
points = None

@test_case(points=1, hidden=False, 
    failure_message="Whitened draws of the predicted law have unit covariance. A variance is the square of a standard deviation, and correlations count.")
def test_draws_become_white(whiten, np):
    rng, cov = (np.random.default_rng(1), np.array([[4.0, 1.5, 0.0], [1.5, 1.0, 0.2], [0.0, 0.2, 0.25]]))
    draws = rng.multivariate_normal([1.0, -2.0, 0.0], cov, size=20000)
    z = np.array(whiten(draws, np.array([1.0, -2.0, 0.0]), cov))
    assert np.allclose(z.T @ z / len(z), np.eye(3), atol=0.05), f'came {z.T @ z / len(z)}'

