"""numpyro: its stochastic variational inference, as its own VAE example has it, on flax networks.

A model and a guide with a plate over the batch, `numpyro.contrib.module.flax_module` for the networks,
`numpyro.optim.Adam`, and `Trace_ELBO`, of which `TraceMeanField_ELBO` is the form with the KL in closed form that the
others use; for the IWAE `RenyiELBO(alpha=0)` with k particles, which is its bound. The Bernoulli takes logits, which is
faster and stabler than the probabilities of the example.

`svi.run` keeps its arguments fixed for all steps, so batches cannot pass through it; the example's own form is a
compiled loop over `svi.update` that fetches each batch by its index. Both that (by `lax.scan`, the losses kept) and a
Python loop over a jitted `svi.update` are tried for a moment, and the faster is timed.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro import distributions as dist
from numpyro.contrib.module import flax_module
from numpyro.infer import SVI, RenyiELBO, TraceMeanField_ELBO

from experiments.benchmark_parts.works import PIXELS, WINDOW, Work
from experiments.benchmark_peers import flax_nets, protocol
from experiments.benchmark_peers.protocol import Meter, Task

TRIAL = 1.0  # seconds in which a form is tried
Form = Callable[[Any, np.ndarray], tuple[Any, Any]]
"""(state, indices [steps, batch]) -> (state, losses)"""


def model(x, work: Work):
    decode = flax_module("decoder", flax_nets.Decoder(work), input_shape=(work.batch, work.latent))
    with numpyro.plate("batch", work.batch):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(work.latent), 1.0).to_event(1))
        numpyro.sample("x", dist.Bernoulli(logits=decode(z)).to_event(1), obs=x)


def guide(x, work: Work):
    encode = flax_module("encoder", flax_nets.Encoder(work), input_shape=(work.batch, PIXELS))
    mean, log_var = encode(x)
    with numpyro.plate("batch", work.batch):
        numpyro.sample("z", dist.Normal(mean, jnp.exp(0.5 * log_var)).to_event(1))


def forms(svi: SVI, x: jax.Array, work: Work) -> dict[str, Form]:
    update = jax.jit(lambda state, index: svi.update(state, x[index], work=work), donate_argnums=0)

    @partial(jax.jit, donate_argnums=0)
    def scan(state, indices):
        return jax.lax.scan(lambda state, index: svi.update(state, x[index], work=work), state, indices)

    def loop(state, indices):
        losses = []
        for index in indices:
            state, loss = update(state, index)
            losses.append(loss)
        return state, losses

    return {"loop": loop, "scan": scan}


def orders(task: Task, size: int) -> Iterator[np.ndarray]:
    """Indices [steps, batch] of a few thousand examples at a time, each pass in a fresh order."""
    rng, work = np.random.default_rng(task.seed), task.training()
    while True:
        permutation = rng.permutation(size).astype(np.int32)
        for at in range(0, size - WINDOW + 1, WINDOW):
            yield permutation[at : at + WINDOW].reshape(-1, work.batch)


def train(task: Task) -> dict[str, Any]:
    work, x = task.training(), jnp.asarray(task.pixels())
    loss = RenyiELBO(alpha=0, num_particles=work.k) if work.k else TraceMeanField_ELBO()
    svi = SVI(model, guide, numpyro.optim.Adam(1e-3), loss)
    encoder, decoder = flax_nets.start(task)
    given = {"encoder$params": encoder, "decoder$params": decoder}
    state = svi.init(jax.random.key(task.seed), x[: work.batch], work=work)
    state = state._replace(optim_state=svi.optim.init({name: given[name] for name in svi.get_params(state)}))
    meter, order, each = Meter.of(task, jax.block_until_ready), orders(task, len(x)), {}
    tried = forms(svi, x, work)
    for name, form in tried.items():
        for seconds in (0.0, TRIAL):  # the first compiles
            begun, made = time.perf_counter(), 0
            while not made or time.perf_counter() - begun < seconds:
                state, losses = jax.block_until_ready(form(state, next(order)))
                meter.add(loss=np.asarray(losses) / work.batch)
                made += 1
            each[name] = (time.perf_counter() - begun) / made
    faster = tried[min(each, key=lambda name: each[name])]
    while meter.more(state):
        state, losses = faster(state, next(order))
        meter.add(loss=np.asarray(losses) / work.batch)
    return meter.result()


if __name__ == "__main__":
    protocol.main({"train": train})
