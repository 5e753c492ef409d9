"""Flax's own VAE example (google/flax, examples/vae), in its form, written afresh.

Its form: two linen modules in a third, a TrainState with optax's Adam, `train_step(state, batch, z_rng, latents)` that
builds the module, takes the gradient and calls `apply_gradients`, and a Python loop that splits a key for every step.
Its maths: the cross-entropy by log_sigmoid and log(-expm1), the KL in closed form, both under `jax.vmap`.

Variant `plain` calls train_step as the example does today: without jit, operation by operation. Variant `jit` is the
same under `jax.jit`, which is how anyone would run it who looks at the clock.

What differs, in its favour or for the comparison: batches are NumPy's rows of one array in memory, in place of a
tf.data pipeline; train_step returns the loss too (value_and_grad for grad), so that the curves can be compared; the
other networks and the k samples of the IWAE are put in where its MLP and its one sample stand.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training import train_state
from jax import random

from experiments.benchmark_parts.works import TRAINING, Work
from experiments.benchmark_peers import flax_nets, protocol
from experiments.benchmark_peers.protocol import Meter, Task


class VAE(nn.Module):
    work: Work

    def setup(self):
        self.encoder, self.decoder = flax_nets.Encoder(self.work), flax_nets.Decoder(self.work)

    def __call__(self, x, z_rng):
        mean, logvar = self.encoder(x)
        if not self.work.k:
            z = mean + random.normal(z_rng, logvar.shape) * jnp.exp(0.5 * logvar)
            return self.decoder(z), mean, logvar, z
        z = mean + random.normal(z_rng, (self.work.k, *logvar.shape)) * jnp.exp(0.5 * logvar)
        return self.decoder(z.reshape(-1, z.shape[-1])).reshape(*z.shape[:-1], -1), mean, logvar, z


@jax.vmap
def kl_divergence(mean, logvar):
    return 0.5 * jnp.sum(jnp.square(mean) + jnp.exp(logvar) - 1 - logvar)


@jax.vmap
def cross_entropy(logits, labels):
    log_p = nn.log_sigmoid(logits)
    return -jnp.sum(labels * log_p + (1.0 - labels) * jnp.log(-jnp.expm1(log_p)))


def negative_bound(logits, x, mean, logvar, z):
    """The IWAE's loss; what cancels between log p(z) and log q(z|x) is left out."""
    log_w = -jax.vmap(cross_entropy, (0, None))(logits, x) - 0.5 * jnp.sum(
        jnp.square(z) - logvar - jnp.square(z - mean) * jnp.exp(-logvar), axis=-1
    )
    return jnp.log(len(z)) - jax.nn.logsumexp(log_w, axis=0)


def train_step(state, batch, z_rng, name):
    work = TRAINING[name]

    def loss_fn(params):
        found: Any = VAE(work).apply({"params": params}, batch, z_rng)
        logits, mean, logvar, z = found
        if work.k:
            return negative_bound(logits, batch, mean, logvar, z).mean()
        return cross_entropy(logits, batch).mean() + kl_divergence(mean, logvar).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


def train(task: Task, step) -> dict[str, Any]:
    work, x = task.training(), task.pixels()
    encoder, decoder = flax_nets.start(task)
    params = {"encoder": encoder, "decoder": decoder}
    state = train_state.TrainState.create(apply_fn=VAE(work).apply, params=params, tx=optax.adam(1e-3))
    rng, order = random.key(task.seed), np.random.default_rng(task.seed)
    meter = Meter.of(task, jax.block_until_ready)
    while True:
        permutation = order.permutation(len(x))
        for at in range(0, len(x) - work.batch + 1, work.batch):
            if not meter.more(state):
                return meter.result()
            rng, key = random.split(rng)
            state, loss = step(state, x[permutation[at : at + work.batch]], key, work.name)
            meter.add(loss=loss)


if __name__ == "__main__":
    jitted = jax.jit(train_step, static_argnames="name")
    protocol.main({"plain": partial(train, step=train_step), "jit": partial(train, step=jitted)})
