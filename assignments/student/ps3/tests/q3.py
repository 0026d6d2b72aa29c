from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = None

@test_case(points=1, hidden=False, 
    failure_message="No step changes nothing, and one step is the gradient step, learning rate times kernel times residual.")
def test_the_first_step(closed_form, np):
    draw = np.random.default_rng(1).normal
    train, test, residual, f0 = (draw(size=(4, 6)), draw(size=(3, 6)), draw(size=(4, 1)), draw(size=(3, 1)))
    run = lambda steps: closed_form(test @ train.T, train @ train.T, residual, f0, 0.05, steps)
    assert np.allclose(run(0), f0)
    assert np.allclose(run(1), f0 + 0.05 * test @ train.T @ residual)

@test_case(points=1, hidden=False, 
    failure_message="Trained long enough, the model meets its targets on the training inputs.")
def test_it_interpolates(closed_form, np):
    draw = np.random.default_rng(1).normal
    train, y, f0 = (draw(size=(4, 6)), draw(size=(4, 1)), draw(size=(4, 1)))
    kernel = train @ train.T
    found = closed_form(kernel, kernel, y - f0, f0, 1 / np.trace(kernel), 1000000)
    assert np.allclose(found, y)

