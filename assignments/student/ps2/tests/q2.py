from otter.test_files import test_case

OK_FORMAT = False

name = "q2"
points = None

@test_case(points=1, hidden=False, 
    failure_message="The shares of the layers add up to the whole kernel.")
def test_the_shares_add_up(ntk_by_layer, jax, jnp, wl, np):
    x = jnp.array(np.random.default_rng(0).normal(size=(5, 3)))
    net = wl.mlp(depth=2, width=8, w_std=1.4, b_std=0.5)
    params = jax.jit(net.init)(jax.random.key(1), x)
    shares = ntk_by_layer(net, params, x, x)
    assert set(shares) == set(params['params'])
    whole = jax.jit(lambda p: wl.empirical_ntk(net.apply, p, x, outputs='mean'))(params)
    assert jnp.allclose(sum(shares.values()), whole, atol=1e-09)

