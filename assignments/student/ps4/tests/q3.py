from otter.test_files import test_case

OK_FORMAT = False

name = "q3"
points = None

@test_case(points=1, hidden=False, 
    failure_message="A row for each member, and no two alike. Before the first step they are random functions that know nothing of the targets.")
def test_members_differ(train_many, x, jax, np):
    found = np.array(train_many(jax.random.key(0), 100, 256, 0))
    assert found.shape == (100, len(x))
    assert found.std(axis=0).min() > 0.3, f'standard deviations {found.std(axis=0)}'

