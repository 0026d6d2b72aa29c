from otter.test_files import test_case

OK_FORMAT = False

name = "q1"
points = None

@test_case(points=1, hidden=False, 
    failure_message="In NTK parameterization every trained number starts as a standard normal; the scales stand outside.")
def test_parameters_are_standard_normal(init_params, jax, np):
    params = init_params(jax.random.key(0), [9, 100, 100, 2])
    assert [(w.shape, b.shape) for w, b in params] == [((9, 100), (100,)), ((100, 100), (100,)), ((100, 2), (2,))]
    for w, b in params[:2]:
        assert abs(np.std(w) - 1) < 0.1, f'a layer of weights has standard deviation {np.std(w):.3f}'
        assert abs(np.std(b) - 1) < 0.3, f'a layer of biases has standard deviation {np.std(b):.3f}'

@test_case(points=1, hidden=False, 
    failure_message="ReLU passes scales through, and every layer applies the weight scale once.")
def test_every_layer_scales_once(apply, np):
    draw = np.random.default_rng(0).normal
    params, x = ([(draw(size=(n, k)), draw(size=k)) for n, k in ((5, 16), (16, 16), (16, 2))], draw(size=(3, 5)))
    once, doubled = (np.array(apply(params, x, 1.0, 0.0)), np.array(apply(params, x, 2.0, 0.0)))
    assert once.shape == (3, 2)
    assert np.allclose(doubled, 8 * once), 'three layers give 2³'
    assert (once < 0).any(), 'the output is not passed through ReLU'

