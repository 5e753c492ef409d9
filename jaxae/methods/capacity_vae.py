import jax.numpy as jnp

from jaxae import gaussian
from jaxae.schedules import at_step
from jaxae.types import Method, Net, Objective, Weight


def capacity_vae(net: Net, *, gamma: Weight = 1000.0, capacity: Weight = 25.0) -> Method:
    """Capacity VAE: the KL of each example is held at a capacity, which a schedule may raise.

    Burgess et al. 2018 (arXiv:1804.03599), eq. 8. They raise the capacity as training goes on: linear(0, 25, 100%).

    loss = -log p(x | z) + gamma |KL(q(z | x) || N(0, 1)) - capacity|, z = mean + exp(log_var / 2) noise, in nats an
    example. The distance is each example's own, as in the equation; some implementations take that of the batch's mean.

    gamma: weight of the distance between KL and capacity
    capacity: nats that the code of each example is to carry
    """
    base = gaussian.bind(net)

    def loss(variables, keys, batch, step):
        terms = base.terms(variables, keys, batch)
        distance = jnp.abs(terms.kl - at_step(capacity, step))
        value = terms.reconstruction + at_step(gamma, step) * distance
        return Objective(value, terms.state, terms.metrics(distance=distance))

    return base.method(loss)
