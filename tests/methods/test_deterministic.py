"""The deterministic autoencoders: corruptions counted, Jacobians and norms against numpy and jax.jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from flax import linen as nn

from jaxae import likelihoods, methods, networks, random
from jaxae.errors import InputError
from jaxae.methods import contractive_ae, denoising_ae, rae_sn, topk_ae
from jaxae.train import make_train_step
from jaxae.types import Net, TrainState, Variables

N = 12
STEP = jnp.asarray(0)
keys = small.keys


def curved(name, latent=3, seed=0, **hyper):
    """A method on networks with hidden layers, its variables and a batch of grey images."""
    shape = (4, 3, 1)
    net = networks.make("mlp", shape, latent, likelihoods.make("gaussian", 0.5), width=7, depth=1, activation="tanh")
    method, batch = small.programs(methods.factory(name)(net, **hyper)), small.batch(5, shape, binary=False)
    return method, small.variables(method, batch, seed, size=0.5), batch


def ready(name, likelihood="gaussian", latent=2, **hyper):
    """A method on linear networks, its variables and a batch of grey images."""
    method, batch = small.method(name, likelihood, latent, **hyper), small.batch(N, binary=False)
    return method, small.variables(method, batch), batch


def dense(variables, side):
    layer = variables.params[side]["dense"]
    return np.asarray(layer["kernel"], np.float64), np.asarray(layer["bias"], np.float64)


def nll(variables, z, x, scale=0.5):
    """-log p(x|z) of the linear decoder and Gaussian pixels, in float64."""
    kernel, bias = dense(variables, "decoder")
    error = np.asarray(x, np.float64).reshape(len(x), -1) - (z @ kernel + bias)
    return 0.5 * np.sum((error / scale) ** 2 + np.log(2 * np.pi * scale**2), axis=1)


def linear_code(variables, x):
    kernel, bias = dense(variables, "encoder")
    return np.asarray(x, np.float64).reshape(len(x), -1) @ kernel + bias


# --- denoising_ae


@pytest.mark.parametrize(("noise", "values"), [("mask", {0.0: 0.3}), ("salt", {0.0: 0.15, 1.0: 0.15})])
def test_pixels_are_replaced_as_often_as_the_level_says(noise, values):
    x = jnp.full((400, 8, 8, 1), 0.5)
    corrupted = np.asarray(small.jit(denoising_ae.NOISES[noise])(keys(400), x, 0.3))
    for value, share in values.items():
        assert abs((corrupted == value).mean() - share) < 4 * np.sqrt(share * (1 - share) / x.size)
    assert (corrupted == 0.5).mean() == pytest.approx(0.7, abs=0.012)
    assert set(np.unique(corrupted)) == {0.5, *values}


def test_gaussian_noise_has_the_levels_deviation_and_each_keys_own_draw():
    x = jnp.full((400, 8, 8, 1), 0.5)
    gaussian = small.jit(denoising_ae.NOISES["gaussian"])
    noise = np.asarray(gaussian(keys(400), x, 0.3)) - 0.5
    assert abs(noise.mean()) < 4 * 0.3 / np.sqrt(x.size)
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    last = random.example_keys(jax.random.key(0), 0, jnp.arange(399, 392, -1))
    some = np.asarray(gaussian(last, x[:7], 0.3))
    np.testing.assert_allclose(some - 0.5, noise[::-1][:7], atol=1e-6)


@pytest.mark.parametrize("noise", denoising_ae.NOISES)
def test_the_clean_image_is_what_a_corrupted_code_must_give(noise):
    method, variables, batch = ready("denoising_ae", noise=noise, level=0.6)
    corrupted = small.jit(denoising_ae.NOISES[noise])(keys(), batch.x, 0.6)
    expected = nll(variables, linear_code(variables, corrupted), batch.x)
    np.testing.assert_allclose(method.loss(variables, keys(), batch, STEP).loss, expected, rtol=1e-5)
    np.testing.assert_allclose(method.embed(variables, batch), linear_code(variables, batch.x), rtol=1e-4, atol=1e-6)


def test_an_unknown_noise_is_refused():
    with pytest.raises(InputError, match="unknown noise 'slat': did you mean 'salt'"):
        small.method("denoising_ae", noise="slat")


# --- contractive_ae


def squared_jacobian(f, x):
    """|df/dx|_F^2 of every example, one at a time."""
    jacobian = small.jit(jax.vmap(jax.jacobian(lambda row: f(row[None])[0])))(x)
    return np.sum(np.square(np.asarray(jacobian, np.float64)), axis=tuple(range(1, jacobian.ndim)))


def test_contraction_is_the_jacobian_of_jax():
    method, variables, batch = curved("contractive_ae", weight=0.7)
    objective = method.loss(variables, keys(5), batch, STEP)
    expected = squared_jacobian(lambda x: method.embed(variables, batch._replace(x=x)), batch.x)
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(objective.metrics["contraction"], expected, rtol=1e-4)
    np.testing.assert_allclose(objective.loss - objective.metrics["reconstruction"], 0.7 * expected, rtol=1e-3)


def test_gradient_of_a_linear_encoders_contraction_is_twice_its_kernel():
    _, variables, batch = ready("contractive_ae")

    def mean_loss(params, weight):
        method = small.method("contractive_ae", "gaussian", weight=weight)
        return method.loss(Variables(params, variables.state), keys(), batch, STEP).loss.mean()

    slopes = small.jit(jax.grad(mean_loss))
    none, some = (jax.device_get(slopes(variables.params, weight))["encoder"]["dense"] for weight in (0.0, 3.0))
    np.testing.assert_allclose(some["kernel"] - none["kernel"], 6 * dense(variables, "encoder")[0], rtol=1e-3)
    np.testing.assert_array_equal(some["bias"], none["bias"])


@pytest.mark.parametrize(("name", "metric", "probes"), [("contractive_ae", "contraction", 3), ("rae_gp", "penalty", 2)])
def test_random_directions_estimate_the_norm_of_the_jacobian_without_bias(name, metric, probes):
    exact, variables, batch = curved(name)
    probed = curved(name, probes=probes)[0]

    def norm(method):
        return lambda seed: method.loss(variables, keys(5, seed), batch, STEP).metrics[metric]

    draws = np.asarray(small.jit(lambda: jax.lax.map(norm(probed), jnp.arange(1500)))())
    se = draws.std(axis=0) / np.sqrt(len(draws))
    assert (se > 0).all() and len(np.unique(draws[0])) == 5
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - small.jit(norm(exact))(0)), 4.5 * se)


def test_a_basis_of_directions_is_the_whole_norm():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    basis = jnp.broadcast_to(jnp.eye(3)[:, None], (3, 4, 3))

    def f(x):
        return jnp.sin(x)[:, :, None] * jnp.cos(2 * x)[:, None, :]

    expected = squared_jacobian(f, x)
    np.testing.assert_allclose(small.jit(lambda: contractive_ae.squared_along(f, x, basis))(), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["contractive_ae", "rae_gp"])
def test_a_negative_number_of_probes_is_refused(name):
    with pytest.raises(InputError, match="probes -1: expected 0"):
        small.method(name, probes=-1)


# --- sparse_ae


def test_sparse_codes_are_cut_at_zero_and_their_sum_is_charged():
    method, variables, batch = ready("sparse_ae", latent=3, weight=0.8)
    z = np.maximum(linear_code(variables, batch.x), 0)
    assert 0.1 < (z == 0).mean() < 0.9
    objective = method.loss(variables, keys(), batch, STEP)
    np.testing.assert_allclose(method.embed(variables, batch), z, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(objective.loss, nll(variables, z, batch.x) + 0.8 * z.sum(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(objective.metrics["active"], (z > 0).sum(axis=1))


# --- topk_ae


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_largest_units_are_kept_as_they_are(count):
    code = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    code[0] = -np.abs(code[0])  # the largest of the negative
    code[1] = 1.0  # equal ones: as many all the same
    kept = np.asarray(topk_ae.largest(jnp.asarray(code), count, jnp.ones(5, bool)))
    for row, found in zip(np.delete(code, 1, axis=0), np.delete(kept, 1, axis=0)):
        np.testing.assert_array_equal(found, np.where(row >= np.sort(row)[-count], row, 0))
    assert np.count_nonzero(kept[1]) == count


def test_the_largest_are_looked_for_among_some_alone():
    code = jnp.asarray([[5.0, -2.0, 3.0, -1.0]])
    among = jnp.asarray([False, True, False, True])
    np.testing.assert_array_equal(topk_ae.largest(code, 1, among), [[0, 0, 0, -1]])
    np.testing.assert_array_equal(topk_ae.largest(code, 3, among), [[0, -2, 0, -1]])
    np.testing.assert_array_equal(topk_ae.largest(code, 2, jnp.zeros(4, bool)), jnp.zeros((1, 4)))


def silenced(variables, unit, value=-100.0, silent=None):
    """With an encoder whose `unit` is never among the largest."""
    params = jax.tree.map(lambda x: x, variables.params)
    bias = np.array(params["encoder"]["dense"]["bias"])
    bias[unit] = value
    params["encoder"]["dense"]["bias"] = jnp.asarray(bias)
    state = variables.state if silent is None else {**variables.state, "silent": jnp.asarray(silent, jnp.float32)}
    return Variables(params, state)


def test_silent_steps_are_counted_until_a_unit_is_kept():
    method, variables, batch = ready("topk_ae", latent=3, active=1, dead_after=4)
    variables, seen, dead = silenced(variables, 1, silent=[9, 2, 0]), [], []
    for _ in range(3):
        objective = method.loss(variables, keys(), batch, STEP)
        variables = variables._replace(state=objective.state)
        seen.append(objective.state["silent"].tolist())
        dead.append(float(objective.metrics["dead"][0]))
    assert seen == [[0, 3, 0], [0, 4, 0], [0, 5, 0]]  # units 0 and 2 are each kept by some example
    np.testing.assert_allclose(dead, [1 / 3, 0, 1 / 3])  # as the state was before the step
    kept = method.loss(silenced(variables, 1, 100.0), keys(), batch, STEP).state["silent"]
    assert kept.tolist() == [1, 0, 1]


def test_dead_units_reconstruct_what_the_others_leave():
    """For the linear decoder the term is the squared error of d W as an image of x - (z W + b): the paper's form."""
    method, variables, batch = ready("topk_ae", latent=4, active=1, aux=1, dead_after=5)
    variables = silenced(silenced(variables, 1), 3, -90.0, silent=[0, 7, 0, 7])
    objective = method.loss(variables, keys(), batch, STEP)
    code, (kernel, bias) = linear_code(variables, batch.x), dense(variables, "decoder")
    z = np.where(code == code.max(axis=1, keepdims=True), code, 0)
    d = np.zeros_like(z)
    d[:, 3] = code[:, 3]
    rest = np.asarray(batch.x, np.float64).reshape(N, -1) - (z @ kernel + bias)
    auxiliary = 0.5 * np.sum(((rest - d @ kernel) / 0.5) ** 2 + np.log(2 * np.pi * 0.25), axis=1)
    np.testing.assert_allclose(objective.metrics["auxiliary"], auxiliary, rtol=1e-4)
    np.testing.assert_allclose(objective.loss, nll(variables, z, batch.x), rtol=1e-4)


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_learned"])
def test_the_auxiliary_loss_adds_its_gradient_and_no_value_and_leaves_the_likelihoods_scale(likelihood):
    def gradient_and_loss(aux, weigh):
        method, variables, batch = ready("topk_ae", likelihood, latent=3, active=1, aux=aux)
        variables = silenced(variables, 1, silent=[0, 500, 0])

        def mean(params):
            objective = method.loss(Variables(params, variables.state), keys(), batch, STEP)
            return weigh(objective).mean(), objective.loss

        return jax.device_get(small.jit(jax.grad(mean, has_aux=True))(variables.params))

    whole, loss = gradient_and_loss(1, lambda o: o.loss)
    plain, without = gradient_and_loss(0, lambda o: o.loss)
    auxiliary, _ = gradient_and_loss(1, lambda o: o.metrics["auxiliary"])
    np.testing.assert_array_equal(loss, without)
    small.assert_close(whole, jax.tree.map(lambda a, b: a + b / 32, plain, auxiliary), rtol=1e-4, atol=1e-5)
    small.assert_same_bits(whole["likelihood"], plain["likelihood"])


def test_the_auxiliary_loss_moves_dead_units_and_none_other_of_the_encoder():
    variables, batch = ready("topk_ae", latent=3, active=1)[1:]
    variables = silenced(variables, 1, silent=[0, 500, 0])

    def gradient(aux):
        method = small.method("topk_ae", "gaussian", 3, active=1, aux=aux)
        of = jax.grad(lambda params: method.loss(Variables(params, variables.state), keys(), batch, STEP).loss.mean())
        return np.asarray(small.jit(of)(variables.params)["encoder"]["dense"]["kernel"])

    with_aux, without = gradient(2), gradient(0)
    assert not np.any(without[:, 1])
    assert np.all(with_aux[:, 1] != 0)
    np.testing.assert_allclose(with_aux[:, [0, 2]], without[:, [0, 2]], rtol=1e-6)


def test_an_exact_step_keeps_the_type_of_the_state():
    """It takes a mean over shards: whole numbers would come back as real ones, and no loop would carry them."""
    method, variables, batch = ready("topk_ae", latent=3)
    tx = small.sgd(1e-3)
    start = TrainState(STEP, variables, tx.init(variables.params))
    after, _ = jax.eval_shape(make_train_step(method, tx, shards=2), jax.random.key(0), start, batch)
    assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, start)


def test_no_auxiliary_loss_while_no_unit_is_dead():
    method, variables, batch = ready("topk_ae", latent=3)
    objective = method.loss(variables, keys(), batch, STEP)
    np.testing.assert_array_equal(objective.loss, objective.metrics["reconstruction"])
    np.testing.assert_array_equal(objective.metrics["auxiliary"], 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"active": 0}, "active 0"),
        ({"active": 3}, "to the 2 latent"),
        ({"aux": -1}, "aux -1"),
        ({"dead_after": 0}, "dead_after 0"),
    ],
)
def test_numbers_of_units_out_of_range_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        small.method("topk_ae", latent=2, **wrong)


# --- rae, rae_gp, rae_sn


def test_rae_charges_codes_and_decoder_kernels():
    method, variables, batch = ready("rae", beta=0.7, weight=0.3)
    z, kernel = linear_code(variables, batch.x), dense(variables, "decoder")[0]
    expected = nll(variables, z, batch.x) + 0.35 * np.sum(z**2, axis=1) + 0.3 * np.sum(kernel**2)
    np.testing.assert_allclose(method.loss(variables, keys(), batch, STEP).loss, expected, rtol=1e-5)
    assert method.sample is None


def test_rae_leaves_biases_alone():
    """Those of the networks too, whose last one holds the mean image."""
    method, variables, batch = curved("rae")
    flat = jax.tree_util.tree_leaves_with_path(variables.params["decoder"])
    kernels = [np.sum(np.square(leaf)) for path, leaf in flat if "kernel" in jax.tree_util.keystr(path)]
    assert len(kernels) == 2 and len(flat) == 4
    np.testing.assert_allclose(method.loss(variables, keys(5), batch, STEP).metrics["penalty"], sum(kernels), rtol=1e-5)


def test_rae_gps_penalty_does_not_widen_the_likelihood():
    """The mean of a discretised logistic moves with its scale, and a wider one has a smaller Jacobian."""

    def slope(weight):
        method = small.method("rae_gp", "discretised_logistic", 3, beta=0.0, weight=weight)
        batch = small.batch(5, small.SHAPE)
        variables = small.jit(method.init)(jax.random.key(0), batch)
        keys = random.example_keys(jax.random.key(1), 0, batch.index)

        def loss(params):
            return method.loss(variables._replace(params=params), keys, batch, jnp.zeros((), int)).loss.mean()

        return small.jit(jax.grad(loss))(variables.params)

    without, charged = slope(0.0), slope(5.0)
    small.assert_close(charged["likelihood"], without["likelihood"], rtol=1e-6, atol=0)
    assert not np.allclose(jax.tree.leaves(charged["decoder"])[0], jax.tree.leaves(without["decoder"])[0])


def test_rae_gp_charges_half_the_jacobian_of_jax():
    method, variables, batch = curved("rae_gp", beta=0.2, weight=0.6)
    z = method.embed(variables, batch)
    expected = squared_jacobian(lambda z: method.decode(variables, z), z) / 2
    assert np.std(expected) > 0.01
    objective = method.loss(variables, keys(5), batch, STEP)
    np.testing.assert_allclose(objective.metrics["penalty"], expected, rtol=1e-4)
    rest = objective.metrics["reconstruction"] + 0.1 * jnp.sum(jnp.square(z), axis=-1)
    np.testing.assert_allclose(objective.loss - rest, 0.6 * expected, rtol=1e-3)


def converged(method, variables, batch, steps=200):
    """The variables after many losses without an update: the power iterations have ended."""

    def once(_, state):
        return method.loss(variables._replace(state=state), keys(5), batch, STEP).state

    return variables._replace(state=small.jit(lambda: jax.lax.fori_loop(0, steps, once, variables.state))())


def test_spectral_normalisation_divides_by_the_largest_singular_value():
    method, variables, batch = curved("rae_sn")
    scaled, _ = small.jit(rae_sn.normalised)(converged(method, variables, batch))
    old, new = rae_sn.kernels_of(variables), rae_sn.kernels_of(scaled)
    assert len(old) == 2
    for path, kernel in old.items():
        matrix = np.asarray(kernel, np.float64)
        np.testing.assert_allclose(new[path], matrix / np.linalg.svd(matrix)[1][0], rtol=1e-4, atol=1e-6)


def test_a_convolutions_kernel_is_normalised_as_a_matrix():
    net = networks.make("conv", (8, 8, 1), 3, likelihoods.make("gaussian"), width=4)
    batch = small.batch(5, (8, 8, 1))
    method = methods.factory("rae_sn")(net)
    variables = small.jit(method.init)(jax.random.key(0), batch)
    kernels = rae_sn.kernels_of(small.jit(rae_sn.normalised)(converged(method, variables, batch))[0])
    assert {kernel.ndim for kernel in kernels.values()} == {2, 4}
    for kernel in kernels.values():
        sizes = np.linalg.svd(np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]))[1]
        np.testing.assert_allclose(sizes[0], 1, rtol=1e-3)


def test_one_step_is_one_power_iteration_from_the_state():
    w, u = (np.random.default_rng(s).normal(size=size).astype(np.float32) for s, size in ((0, (4, 3)), (1, 3)))
    v = w @ (u / np.linalg.norm(u))
    expected = w.T @ (v / np.linalg.norm(v))
    size, new = rae_sn.largest(jnp.asarray(w), jnp.asarray(u))
    np.testing.assert_allclose(size, np.linalg.norm(expected), rtol=1e-5)
    np.testing.assert_allclose(new, expected / np.linalg.norm(expected), rtol=1e-5)
    from_zero, ones = (rae_sn.largest(jnp.asarray(w), start) for start in (jnp.zeros(3), jnp.ones(3)))
    small.assert_same_bits(from_zero, ones)


def test_gradient_of_the_singular_value_is_the_exact_ones():
    w, u = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32), jnp.ones(3)
    largest = small.jit(rae_sn.largest)
    for _ in range(60):
        u = largest(w, u)[1]
    ours = small.jit(jax.grad(lambda w: rae_sn.largest(w, u)[0]))(w)
    left, _, right = np.linalg.svd(np.asarray(w))
    np.testing.assert_allclose(ours, np.outer(left[:, 0], right[0]), atol=1e-4)


def test_what_is_trained_is_what_is_decoded():
    """The same normalised kernels score the image in the loss and decode it, at any stage of the iteration."""
    method, variables, batch = ready("rae_sn", beta=0.0)
    x, mean = np.asarray(batch.x), np.asarray(method.reconstruct(variables, batch))
    error = np.sum(np.square(x - mean).reshape(N, -1), axis=1)
    loss = method.loss(variables, keys(), batch, STEP).loss
    np.testing.assert_allclose(loss, 2 * error + small.D * 0.5 * np.log(2 * np.pi * 0.25), rtol=1e-5)


def test_the_normalised_decoder_stretches_no_distance():
    method, variables, batch = curved("rae_sn")
    ready = converged(method, variables, batch)
    one, two = (jnp.asarray(np.random.default_rng(s).normal(size=(200, 3)) * 0.5, jnp.float32) for s in (0, 1))
    moved = np.subtract(*(np.asarray(method.decode(ready, z)).reshape(200, -1) for z in (one, two)))
    ratio = np.linalg.norm(moved, axis=1) / np.linalg.norm(np.subtract(one, two), axis=1)
    assert 0.3 < ratio.max() <= 1 + 1e-4


def test_a_decoder_without_kernels_is_refused():
    class Scale(nn.Module):
        @nn.compact
        def __call__(self, z):
            return (z * self.param("scale", nn.initializers.ones, z.shape[-1:])[None]).reshape(-1, 1, 2, 1)

    net = Net(small.Encoder, Scale(), likelihoods.make("gaussian"), latent=2)
    with pytest.raises(InputError, match="no parameter 'kernel'"):
        methods.factory("rae_sn")(net).init(jax.random.key(0), small.batch(2, (1, 2, 1)))
