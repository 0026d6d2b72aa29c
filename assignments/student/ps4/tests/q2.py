from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = None

@test_case(points=1, hidden=False, 
    failure_message="Before training the population is the prior. Its mean is 0, and its covariance is the NNGP kernel.")
def test_it_starts_at_the_prior(ensemble, nngp, ntk, y, np):
    mean, cov = ensemble(nngp, ntk, y, 0.05, 0)
    assert mean.shape == (len(nngp), 1) and np.allclose(mean, 0) and np.allclose(cov, nngp)

@test_case(points=1, hidden=False, 
    failure_message="In the end all networks meet the targets, and still differ elsewhere; a covariance is symmetric and positive semidefinite at all times.")
def test_it_ends_at_the_targets(ensemble, nngp, ntk, y, np):
    for steps in (3, 10000000):
        mean, cov = map(np.asarray, ensemble(nngp, ntk, y, 0.05, steps))
        assert np.allclose(cov, cov.T, atol=1e-08) and np.linalg.eigvalsh(cov).min() > -1e-06
    m = len(y)
    assert np.allclose(mean[:m], y, atol=1e-05) and np.allclose(cov[:m], 0, atol=1e-05)
    assert np.diag(cov)[m:].min() > 0.001

