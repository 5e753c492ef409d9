"""An optimiser by name, as one optax chain: clipping, the rule, the schedule, averaged weights."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from jaxae import own as users
from jaxae.errors import InputError, a_share, known
from jaxae.names import OF_RULES, OWN_RULE, SETTINGS
from jaxae.types import PyTree, TrainState, Variables, Weight

Rule = Callable[..., optax.GradientTransformation]
RULES: dict[str, Rule] = {
    "adam": lambda lr, b1, b2, eps, wd: optax.chain(scale_by_adam(b1, b2, eps), optax.scale_by_learning_rate(lr)),
    "adamw": lambda lr, b1, b2, eps, wd: optax.chain(
        scale_by_adam(b1, b2, eps), optax.add_decayed_weights(wd), optax.scale_by_learning_rate(lr)
    ),
    "nadam": lambda lr, b1, b2, eps, wd: optax.nadam(lr, b1, b2, eps),
    "amsgrad": lambda lr, b1, b2, eps, wd: optax.amsgrad(lr, b1, b2, eps),
    "adamax": lambda lr, b1, b2, eps, wd: optax.adamax(lr, b1, b2, eps),
    "radam": lambda lr, b1, b2, eps, wd: optax.radam(lr, b1, b2, eps),
    "adabelief": lambda lr, b1, b2, eps, wd: optax.adabelief(lr, b1, b2, eps),
    "lion": lambda lr, b1, b2, eps, wd: optax.lion(lr, b1, b2, weight_decay=wd),
    "lamb": lambda lr, b1, b2, eps, wd: optax.lamb(lr, b1, b2, eps, weight_decay=wd),
    "muon": lambda lr, b1, b2, eps, wd: _muon(lr, b1, b2, eps, wd),
    "rmsprop": lambda lr, b1, b2, eps, wd: optax.rmsprop(
        lr, decay=b2, eps=eps, momentum=b1 or None, bias_correction=True
    ),
    "sgd": lambda lr, b1, b2, eps, wd: optax.sgd(lr, momentum=b1 or None),
    "adagrad": lambda lr, b1, b2, eps, wd: optax.adagrad(lr, eps=eps),
}


def scale_by_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2014, arXiv:1412.6980, algorithm 1) with `optax.scale_by_adam`'s state and, but for rounding,
    its values: the corrections of both moments are divided once, as scalars, where optax divides every element by them.
    With small batches a CPU spends a fifth of the step on those divisions."""

    def init(params: PyTree) -> optax.ScaleByAdamState:
        return optax.ScaleByAdamState(
            jnp.zeros((), jnp.int32), optax.tree.zeros_like(params), optax.tree.zeros_like(params)
        )

    def update(grads: PyTree, state: optax.ScaleByAdamState, params: PyTree | None = None):
        count = optax.safe_increment(state.count)
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, grads)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * jnp.square(g), state.nu, grads)
        first, second = 1 / (1 - b1**count), jax.lax.rsqrt(1 - b2**count)
        found = jax.tree.map(lambda m, v: (first * m / (second * jnp.sqrt(v) + eps)).astype(m.dtype), mu, nu)
        return found, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def _muon(lr: Weight, b1: float, b2: float, eps: float, wd: float) -> optax.GradientTransformation:
    """Matrices by their orthogonalised momentum (Jordan et al. 2024; the size of the step as in Liu et al. 2025,
    arXiv:2502.16982, so that Adam's learning rates are about right), everything else by NAdam: both look ahead."""
    sized = optax.stateless(lambda steps, _: jax.tree.map(lambda x: 0.2 * max(x.shape) ** 0.5 * x, steps))
    ends = optax.add_decayed_weights(wd), optax.scale_by_learning_rate(lr)
    rules = {
        "muon": optax.chain(scale_by_muon(b1, eps), sized, *ends),
        "adam": optax.adamw(lr, b1, b2, eps, weight_decay=wd, nesterov=True),
    }
    return optax.partition(rules, lambda tree: jax.tree.map(lambda x: "muon" if x.ndim == 2 else "adam", tree))


def scale_by_muon(b1: float, eps: float) -> optax.GradientTransformation:
    """With `optax.contrib.scale_by_muon`'s state and, but for rounding, its values: there XLA sums the norm of a matrix
    in another order on two devices than on one, and five steps written out are fused with what surrounds them. A loop's
    body is compiled apart: see `jaxae.exact`."""
    theirs = optax.contrib.scale_by_muon(beta=b1, eps=eps)

    def orthogonal(x: jax.Array, coefficients: jax.Array) -> jax.Array:
        """Five steps of Newton and Schulz from x, [n, m]: its singular vectors, with singular values near one."""
        a, b, c = coefficients
        x = x / (jnp.sqrt(jnp.sum(jnp.square(x))) + eps)

        def nearer(_, x):
            square = x @ x.T
            return a * x + (b * square + c * square @ square) @ x

        tall = x.shape[0] > x.shape[1]
        found = jax.lax.fori_loop(0, 5, nearer, x.T if tall else x)
        return found.T if tall else found

    def update(grads: PyTree, state: optax.contrib.MuonState, params: PyTree | None = None):
        count = optax.safe_increment(state.count)
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, grads)
        ahead, now = b1 / (1 - b1 ** (count + 1)), (1 - b1) / (1 - b1**count)
        momenta = jax.tree.map(lambda m, g: ahead * m + now * g, mu, grads)
        found = jax.tree.map(lambda m: orthogonal(m, state.ns_coeffs), momenta)
        return found, optax.contrib.MuonState(count, mu, state.ns_coeffs)

    return optax.GradientTransformation(theirs.init, update)


def make(
    name: str,
    learning_rate: Weight,
    *,
    b1: float | None = None,
    b2: float | None = None,
    eps: float | None = None,
    weight_decay: float | None = None,
    clip_norm: float | None = None,
    average: float | None = None,
    own: Mapping[str, Mapping[str, Any]] | None = None,
    update: Rule | None = None,
) -> optax.GradientTransformation:
    """The chain of the rule `name`, or FILE.py:NAME of the user's own (`update`: what `find` made of it before).

    `b1`, `b2`, `eps` and `weight_decay` are the rule's own (`names.SETTINGS`) unless given, `b1` the momentum of sgd
    and rmsprop; `average` is the decay of the averaged weights. `own` names entries of the parameters with an optimiser
    of their own, and what differs there: learning_rate, b1, b2, ... Each is clipped by its own gradient's norm.
    Raises InputError for a learning rate that is text, decays that are not from 0 to 1, a norm that is not above 0.
    """
    if isinstance(learning_rate, str):
        raise InputError(f"learning_rate {learning_rate!r}: expected a number, or what jaxae.schedules.make gives")
    a_share(b1=b1, b2=b2, average=average)
    if isinstance(clip_norm, int | float) and not clip_norm > 0:
        raise InputError(f"clip_norm {clip_norm}: expected a norm above 0")
    update = update or find(name)
    usual, given = SETTINGS.get(name, dict.fromkeys(OF_RULES)), zip(OF_RULES, (b1, b2, eps, weight_decay))
    settings = {"learning_rate": learning_rate, **usual, **{k: value for k, value in given if value is not None}}

    def rule(**changes: Any) -> list[optax.GradientTransformation]:
        for setting in changes:
            known("setting of an optimiser", setting, settings)
        clipped = [] if clip_norm is None else [optax.clip_by_global_norm(clip_norm)]
        return [*clipped, update(*{**settings, **changes}.values())]

    chain = [_partition(rule, own)] if own else rule()
    if average is not None:
        chain.append(average_weights(average))
    return optax.chain(*chain)


def find(name: str) -> Rule:
    """The update rule of that name. Raises InputError where there is none."""
    if users.is_own(name):
        return _own(name)
    known("optimizer", name, RULES)
    return RULES[name]


def _own(name: str) -> Rule:
    """The user's own function, given what it takes of the settings, where they are given."""
    function, taken = users.function(name), users.keywords(name, OWN_RULE)

    def rule(lr: Weight, *settings: Any) -> optax.GradientTransformation:
        given = {key: value for key, value in zip(OF_RULES, settings) if key in taken and value is not None}
        made = function(lr, **given)
        if not isinstance(made, optax.GradientTransformation):
            expected = "an optax.GradientTransformation"
            raise InputError(f"{users.short(name)}: it gives a {type(made).__name__}: expected {expected}")
        return made

    return rule


def _partition(rule: Rule, own: Mapping[str, Mapping[str, Any]]) -> optax.GradientTransformation:
    rules, rest = {key: optax.chain(*rule(**changes)) for key, changes in own.items()}, "the rest"

    def labels(params: dict[str, PyTree]) -> dict[str, PyTree]:
        for entry in own:
            known("entry of the parameters with an optimiser of its own", entry, params)
        return {key: jax.tree.map(lambda _, k=key: k if k in own else rest, tree) for key, tree in params.items()}

    return optax.partition({**rules, rest: optax.chain(*rule())}, labels)


class AverageState(NamedTuple):
    average: PyTree
    steps: jax.Array


def average_weights(decay: float) -> optax.GradientTransformation:
    """Keeps an exponential moving average of the updated parameters; last in the chain. The decay warms up as
    (1 + t) / (10 + t), as in TensorFlow's ExponentialMovingAverage, so that the start is soon forgotten."""

    def init(params):
        return AverageState(params, jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        now = jnp.minimum(decay, (1 + state.steps) / (10 + state.steps))
        new = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, p: now * a + (1 - now) * p, state.average, new)
        return updates, AverageState(average, state.steps + 1)

    return optax.GradientTransformation(init, update)


def evaluated(state: TrainState) -> Variables:
    """The variables to evaluate: the averaged weights where the optimiser keeps them."""

    def found(node: Any) -> bool:
        return isinstance(node, AverageState)

    kept = [node for node in jax.tree.leaves(state.opt_state, is_leaf=found) if found(node)]
    return state.variables._replace(params=kept[0].average) if kept else state.variables
