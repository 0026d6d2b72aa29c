from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = None

@test_case(points=1, hidden=False, 
    failure_message="ReLU keeps half of a variance; at a right angle a product of two half-normals has mean 1/2π; opposite inputs are never on together.")
def test_three_angles_by_hand(relu_dual, np):
    found = relu_dual(np.array([1.0, 0.0, -1.0]), np.ones(3), np.ones(3))
    assert np.allclose(found, [1 / 2, 1 / (2 * np.pi), 0.0], atol=1e-06), f'came {found}'

@test_case(points=1, hidden=False, 
    failure_message="A kernel is symmetric and positive semidefinite, and with a squared weight scale of 2 and no bias every layer keeps its diagonal.")
def test_a_kernel_that_keeps_its_diagonal(nngp, np):
    x = np.random.default_rng(2).normal(size=(30, 4))
    x[:15] = x[15:]
    kernel = np.array(nngp(x, x, 10, 2 ** 0.5, 0.0))
    assert np.isfinite(kernel).all(), 'repeated inputs give NaN: a rounded cosine may exceed 1'
    assert np.allclose(kernel, kernel.T) and np.linalg.eigvalsh(kernel).min() > -1e-06
    assert np.allclose(np.diag(kernel), 2 * np.mean(x ** 2, axis=1), rtol=1e-06), 'the scale enters squared'

