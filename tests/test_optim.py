"""Every rule makes the update that its paper says; clipping, schedules and decay act where they should."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small

from jaxae import names, optim
from jaxae.errors import InputError

LR, B1, B2, EPS, WD = 0.1, 0.8, 0.95, 1e-3, 0.02
PARAMS = jnp.asarray([1.0, -2.0, 0.5])
GRADS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def updates(tx, grads=GRADS, params=PARAMS):
    """The update of each step, the parameters moving with them."""
    step, state, seen = jax.jit(tx.update), tx.init(params), []
    for grad in grads:
        update, state = step(jnp.asarray(grad), state, params)
        params = optax.apply_updates(params, update)
        seen.append(np.asarray(update))
    return np.stack(seen)


def moments(rule):
    """Updates of a rule with a first and a second moment, from its formula: rule(m, v, t, g, p)."""
    m, v, p, seen = np.zeros(3), np.zeros(3), np.asarray(PARAMS, np.float64), []
    for t, g in enumerate(GRADS.astype(np.float64), 1):
        u, m, v = rule(m, v, t, g, p)
        p = p + u
        seen.append(u)
    return np.stack(seen)


def adam(m, v, t, g, p, decay=0.0):
    m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
    return -LR * (m / (1 - B1**t) / (np.sqrt(v / (1 - B2**t)) + EPS) + decay * p), m, v


def adamax(m, v, t, g, p):
    m, v = B1 * m + (1 - B1) * g, np.maximum(B2 * v, np.abs(g) + EPS)
    return -LR * m / (1 - B1**t) / v, m, v


def lion(m, v, t, g, p):
    return -LR * (np.sign(B1 * m + (1 - B1) * g) + WD * p), B2 * m + (1 - B2) * g, v


def sgd(m, v, t, g, p):
    m = B1 * m + g
    return -LR * m, m, v


def rmsprop(m, v, t, g, p):
    v = B2 * v + (1 - B2) * g**2
    m = B1 * m + LR * g / np.sqrt(v / (1 - B2**t) + EPS)
    return -m, m, v


FORMULAS = {
    "adam": adam,
    "adamw": lambda *args: adam(*args, decay=WD),
    "adamax": adamax,
    "lion": lion,
    "sgd": sgd,
    "rmsprop": rmsprop,
}
# the others: what optax says by the same names of its arguments
KEYWORDS = {
    "nadam": lambda: optax.nadam(LR, b1=B1, b2=B2, eps=EPS),
    "muon": lambda: optax.adamw(LR, B1, B2, EPS, weight_decay=WD, nesterov=True),  # of a vector; a matrix: below
    "amsgrad": lambda: optax.amsgrad(LR, b1=B1, b2=B2, eps=EPS),
    "radam": lambda: optax.radam(LR, b1=B1, b2=B2, eps=EPS),
    "adabelief": lambda: optax.adabelief(LR, b1=B1, b2=B2, eps=EPS),
    "lamb": lambda: optax.lamb(LR, b1=B1, b2=B2, eps=EPS, weight_decay=WD),
    "adagrad": lambda: optax.adagrad(LR, eps=EPS),
}


def ours(name, lr=LR, wd=WD, **options):
    return optim.make(name, lr, b1=B1, b2=B2, eps=EPS, weight_decay=wd, **options)


def test_names_are_the_implementations():
    assert set(names.OPTIMIZERS) == set(optim.RULES) == {*FORMULAS, *KEYWORDS}


@pytest.mark.parametrize("name", FORMULAS)
def test_rule_is_its_formula(name):
    np.testing.assert_allclose(updates(ours(name)), moments(FORMULAS[name]), rtol=1e-4, atol=1e-6)


def test_adam_is_optaxs_but_for_rounding_at_any_size_of_gradient():
    sizes = np.float32(10) ** np.arange(-12, 7)
    grads = np.random.default_rng(0).normal(size=(30, len(sizes))).astype(np.float32) * sizes
    params = jnp.zeros(len(sizes))
    theirs = updates(optax.adamw(LR, B1, B2, EPS, weight_decay=WD), grads, params)
    np.testing.assert_allclose(updates(ours("adamw"), grads, params), theirs, rtol=2e-6)


@pytest.mark.parametrize("name", KEYWORDS)
def test_rule_is_optaxs_by_keyword(name):
    np.testing.assert_allclose(updates(ours(name)), updates(KEYWORDS[name]()), rtol=1e-6)


def test_muon_turns_a_matrix_by_an_orthogonal_step():
    """The first step's singular vectors are the gradient's, its singular values nearly alike: within the bounds of five
    Newton-Schulz steps, 0.7 to 1.2, where the gradient's own are 1 to 8. Its size is 0.2 sqrt(max(n, m)) times that."""
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.normal(size=(n, 3)))[0] for n in (6, 4))
    grad = jnp.asarray(u @ np.diag([8.0, 3.0, 1.0]) @ v.T, jnp.float32)
    tx = optim.make("muon", LR, b1=B1, b2=B2, eps=1e-8)
    update, _ = tx.update({"w": grad}, tx.init({"w": jnp.zeros_like(grad)}), {"w": jnp.zeros_like(grad)})
    core = u.T @ np.asarray(update["w"], np.float64) @ v / (-LR * 0.2 * np.sqrt(6))
    np.testing.assert_allclose(core, np.diag(np.diag(core)), atol=0.01)
    assert (np.diag(core) > 0.65).all() and (np.diag(core) < 1.25).all()


@pytest.mark.slow
@pytest.mark.parametrize("shape", small.first([[6, 4], [4, 6], [5, 5], [3, 1]], 2))
def test_muon_is_optaxs_but_for_rounding(shape):
    grads = np.random.default_rng(1).normal(size=(20, *shape)).astype(np.float32)
    params = {"w": jnp.asarray(grads[0]), "b": jnp.ones(3)}
    sized = {"consistent_rms": 0.2, "adam_b1": B1, "adam_b2": B2, "adam_weight_decay": WD}
    theirs = optax.contrib.muon(LR, beta=B1, eps=EPS, weight_decay=WD, **sized)
    mine, states = ours("muon"), [tx.init(params) for tx in (ours("muon"), theirs)]
    for grad in grads:
        tree = {"w": jnp.asarray(grad), "b": jnp.asarray(grad.reshape(-1)[:3])}
        made, states[0] = mine.update(tree, states[0], params)
        expected, states[1] = theirs.update(tree, states[1], params)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-7), made, expected)


@pytest.mark.parametrize("name", names.OPTIMIZERS)
def test_weight_decay_acts_on_those_it_is_said_to(name):
    differs = not np.array_equal(updates(ours(name)), updates(ours(name, wd=0.0)))
    assert differs == (name in names.DECAYING)


@pytest.mark.parametrize("name", ["sgd", "rmsprop"])
def test_no_momentum_at_b1_of_zero(name):
    tx = optim.make(name, LR, b1=0.0, b2=B2, eps=EPS)
    plain = {"sgd": -LR * GRADS[0], "rmsprop": -LR * GRADS[0] / np.sqrt(GRADS[0] ** 2 + EPS)}[name]
    np.testing.assert_allclose(updates(tx)[0], plain, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in names.OPTIMIZERS if name not in ("sgd", "lamb")])
def test_no_rule_begins_with_a_leap_at_its_own_defaults(name):
    """Of those whose step the gradient's or the parameters' size does not set: about the learning rate each."""
    grads = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    assert (np.abs(updates(optim.make(name, LR), grads)) < 3.5 * LR).all()


@pytest.mark.parametrize("name", names.OPTIMIZERS)
def test_defaults_are_the_rules_own(name):
    given = optim.make(name, LR, **names.SETTINGS[name])
    np.testing.assert_array_equal(updates(optim.make(name, LR)), updates(given))


def test_the_schedule_is_read_from_step_zero():
    tx = optim.make("sgd", lambda step: 0.1 * (step + 1), b1=0.0)
    np.testing.assert_allclose(updates(tx), [-0.1 * (t + 1) * g for t, g in enumerate(GRADS)], rtol=1e-5)


def test_a_traced_learning_rate_is_a_number_like_another():
    def first(lr):
        tx = optim.make("adam", lr)
        return tx.update(jnp.asarray(GRADS[0]), tx.init(PARAMS), PARAMS)[0]

    both = jax.jit(jax.vmap(first))(jnp.asarray([0.1, 0.2]))
    np.testing.assert_allclose(both, [updates(optim.make("adam", lr))[0] for lr in (0.1, 0.2)], rtol=1e-5)


@pytest.mark.parametrize("norm", [0.5, 1e6])
def test_clipping_is_of_the_gradient_by_its_global_norm(norm):
    tx = optim.make("sgd", 1.0, b1=0.0, clip_norm=norm)
    params = {"a": PARAMS, "b": jnp.ones(2)}
    grads = {"a": jnp.asarray(GRADS[0]), "b": jnp.asarray([3.0, 4.0])}
    scale = min(1, norm / np.sqrt(np.square(GRADS[0]).sum() + 25))
    update, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_allclose(update["a"], -scale * GRADS[0], rtol=1e-5)
    np.testing.assert_allclose(update["b"], -scale * np.array([3.0, 4.0]), rtol=1e-5)


def test_each_player_is_clipped_by_its_own_norm():
    tx = optim.make("sgd", 1.0, b1=0.0, clip_norm=1.0, own={"adversary": {"learning_rate": 2.0}})
    params = {"adversary": PARAMS, "autoencoder": PARAMS}
    grads = {"adversary": jnp.asarray([3.0, 4.0, 0.0]), "autoencoder": jnp.asarray([0.0, 3e3, 4e3])}
    update, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_allclose(update["adversary"], [-1.2, -1.6, 0.0], rtol=1e-6)
    np.testing.assert_allclose(update["autoencoder"], [0.0, -0.6, -0.8], rtol=1e-6)


def test_the_average_changes_no_update():
    np.testing.assert_array_equal(updates(ours("adam", average=0.9)), updates(ours("adam")))


def test_unknown_rule_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="unknown optimizer 'adm': did you mean 'adam'"):
        optim.make("adm", 0.1)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"learning_rate": "1e-3"}, "learning_rate '1e-3': expected a number"),
        ({"b1": 2.0}, "b1 2.0: expected a number from 0 to 1"),
        ({"average": -0.5}, "average -0.5: expected a number from 0 to 1"),
        ({"clip_norm": -1.0}, "clip_norm -1.0: expected a norm above 0"),
    ],
)
def test_numbers_that_no_rule_can_have_are_refused(wrong, expected):
    with pytest.raises(InputError, match=f"^{expected}"):
        optim.make("adam", **{"learning_rate": 1e-3, **wrong})
