import jax
import jax.numpy as jnp

from jaxae import axis, densities, gaussian
from jaxae.errors import InputError, at_least_one
from jaxae.parts import frozen, of_likelihood, with_state
from jaxae.schedules import at_step
from jaxae.types import Method, Net, Objective, Weight

DEFAULTS = {"likelihood": "gaussian", "binarize": "none"}
DECAY = 0.99  # of the constraint's moving average
LIMIT = 14.0  # of the multiplier's logarithm, about a million: a constraint out of reach must not overflow


def geco_vae(net: Net, *, tolerance: Weight = 0.1, period: int = 1000) -> Method:
    """GECO: the least KL at which the reconstruction error is within a tolerance, by a Lagrange multiplier.

    Rezende and Viola 2018 (arXiv:1810.00597), algorithm 1; the constraint is their squared error over what is allowed.

    loss = KL(q(z | x) || N(0, 1)) + multiplier C, C = (|x - E[x|z]|^2 / tolerance^2 - pixels) / 2, in nats an example.
    With a multiplier of 1, where it starts, that is a VAE's with Gaussian pixels of standard deviation `tolerance`.
    After each step its logarithm moves by the moving average of C / pixels, over `period`. The loss moves with it, so
    compare the metrics. Parameters of the likelihood itself descend -log p(x | z), and nothing of C. Dynamic
    binarisation is an error that no code can bring within a small tolerance: the multiplier then grows to its limit.

    couples: the multiplier, in the state, which moves by the mean of C
    moves: the multiplier
    tolerance: root mean squared error of a pixel that is allowed
    period: steps in which an error of three times what is allowed, as a mean square, multiplies the multiplier by e
    """
    if isinstance(tolerance, int | float) and not tolerance > 0:
        raise InputError(f"tolerance {tolerance}: expected a root mean squared error above 0")
    at_least_one(period=period)
    base = gaussian.bind(net)
    zeros = {"log": 0.0, "average": 0.0, "weight": 0.0}
    init = with_state(base.parts.init, multiplier=lambda key, batch: jax.tree.map(jnp.float32, zeros))

    def moved(state, violation):
        """The average is of the steps so far, not of the zero before them, as the paper's starts at the first one."""
        average = DECAY * state["average"] + (1 - DECAY) * violation
        weight = DECAY * state["weight"] + (1 - DECAY)
        log = jnp.clip(state["log"] + average / weight / period, -LIMIT, LIMIT)
        now = {"log": log, "average": average, "weight": weight}
        return {name: value.astype(state[name].dtype) for name, value in now.items()}

    def loss(variables, keys, batch, step):
        terms, state = base.terms(variables, keys, batch), variables.state["multiplier"]
        pixels = batch.x[0].size
        decoded = base.parts.decode(frozen(variables, "likelihood"), terms.z)
        error = densities.event_sum(jnp.square(batch.x - decoded))
        constraint = (error / jnp.square(at_step(tolerance, step)) - pixels) / 2
        multiplier = jnp.full_like(error, jnp.exp(state["log"]))
        violation = jax.lax.stop_gradient(axis.mean(jnp.mean(constraint)) / pixels)
        kept = {**terms.state, "multiplier": moved(state, violation)}
        value = terms.kl + multiplier * constraint + of_likelihood(base.parts, variables, terms.z, batch)
        return Objective(value, kept, terms.metrics(constraint=constraint, multiplier=multiplier))

    return base.method(loss, init=init)
