from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = None

@test_case(points=1, hidden=False, 
    failure_message="A tangent touches. At the point of expansion it has the value of the network, and its gradient.")
def test_it_touches(linearize, jax, jnp, np):
    curve = lambda p, x: jnp.sin(x @ p['w']) * p['a']
    params0, x = ({'w': np.array([[0.5], [1.0]]), 'a': np.array(2.0)}, np.array([[1.0, 2.0], [3.0, -1.0]]))
    both = [jax.jit(lambda p: (f(p, x), jax.jacobian(f)(p, x)))(params0) for f in (linearize(curve, params0), curve)]
    values, slopes = zip(*both)
    assert np.allclose(*values)
    assert all((np.allclose(slopes[0][name], slopes[1][name]) for name in params0))

@test_case(points=1, hidden=False, 
    failure_message="The model is affine in its parameters. Twice the change of the parameters is twice the change of the outputs.")
def test_it_is_affine(linearize, jnp, np, jax):
    curve, x, w0, step = (lambda w, x: jnp.sin(x @ w), np.array([[1.0, 2.0], [3.0, -1.0]]), np.ones((2, 1)), np.eye(2)[:, :1])
    lin = jax.jit(linearize(curve, w0))
    once, twice = (np.array(lin(w0 + factor * step, x) - lin(w0, x)) for factor in (1, 2))
    assert np.abs(once).max() > 0.1 and np.allclose(twice, 2 * once)

