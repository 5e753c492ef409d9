import jax.numpy as jnp

from jaxae import densities, random
from jaxae.errors import at_least_one
from jaxae.gaussian import product, reparameterise
from jaxae.networks.heads import MLP, normal, started
from jaxae.parts import autoencoder, bind, generative, with_params
from jaxae.schedules import at_step
from jaxae.types import Codes, LogWeight, Method, Net, Normal, Objective, Weight


def ladder_vae(net: Net, *, levels: int = 3, hidden: int = 128, beta: Weight = 1.0) -> Method:
    """Ladder VAE: levels of codes, each inferred top-down, from its prior and an upward pass weighed by precision.

    Sonderby et al. 2016 (arXiv:1602.02282), eq. 18 and 19; without batch normalisation, which would couple examples.

    loss = -log p(x | z_1) + beta sum_i KL(q(z_i | x, z_(i+1)) || p(z_i | z_(i+1))), in nats an example: each KL in
    closed form, at a sample of the level above; p(z_L) = N(0, 1). The code is z_1; each level above it has half the
    units.

    codes: z_1 alone, the level next to the image; those above are its prior, and the KL divergence is of all
    levels: of codes, L; with one it is a VAE
    hidden: units of the upward pass at every level, and of the hidden layer (tanh) of each map between levels
    beta: weight of the KL divergences; at 1 the loss is minus the ELBO; a schedule is the paper's warm-up
    """
    at_least_one(levels=levels, hidden=hidden)
    sizes = tuple(max(1, net.latent // 2**level) for level in range(levels))
    parts, up = bind(net, outputs=hidden), MLP(hidden, hidden, activation="tanh")
    heads = [MLP(2 * size, hidden, activation="tanh") for size in sizes]
    own = {f"up_{i}": started(up, hidden) for i in range(2, levels + 1)}
    own |= {f"estimate_{i}": started(head, hidden) for i, head in enumerate(heads, 1)}
    own |= {f"prior_{i}": started(head, above) for i, (head, above) in enumerate(zip(heads, sizes[1:]), 1)}

    def estimates(variables, batch):
        """The deterministic upward pass: what every level's features say of its code."""
        d, found = parts.encode(variables, batch), []
        for i, head in enumerate(heads, 1):
            d = jnp.asarray(up.apply({"params": variables.params[f"up_{i}"]}, d)) if i > 1 else d
            found.append(normal(head, variables.params[f"estimate_{i}"], d))
        return found

    def prior(variables, level, above):
        return normal(heads[level], variables.params[f"prior_{level + 1}"], above)

    def descend(variables, batch=None, keys=None):
        """(q's, p's, z's) of the levels from the bottom up, each given the z above. Without a batch q is p; without
        keys each z is q's mean."""
        seen, noise = batch and estimates(variables, batch), None if keys is None else random.split(keys, levels)
        top = jnp.zeros((len(batch.x if batch else keys), sizes[-1]), jnp.float32)
        found: list[tuple[Normal, Normal, Codes]] = []
        for level in reversed(range(levels)):
            p = prior(variables, level, found[-1][2]) if found else Normal(top, top)
            q = (product(seen[level], p) if found else seen[level]) if batch else p
            found.append((q, p, q.mean if noise is None else reparameterise(noise[level], q)))
        return tuple(zip(*reversed(found)))

    def loss(variables, keys, batch, step):
        qs, ps, zs = descend(variables, batch, keys)
        reconstruction, state = parts.reconstruction(variables, zs[0], batch)
        kls = {f"kl_{i + 1}": jnp.sum(densities.kl(q, p), axis=-1) for i, (q, p) in enumerate(zip(qs, ps))}
        kl = sum(kls.values(), jnp.zeros(()))
        metrics = {"reconstruction": reconstruction, "kl": kl, "elbo": -reconstruction - kl, **kls}
        return Objective(reconstruction + at_step(beta, step) * kl, state, metrics)

    def log_weight(variables, keys, batch):
        qs, ps, zs = descend(variables, batch, keys)
        log_p, log_q = (sum(map(densities.normal, zs, each), jnp.zeros(())) for each in (ps, qs))
        return LogWeight(parts.log_prob(variables, zs[0], batch), log_p, log_q)

    def log_prior(variables, zs):
        ps = (prior(variables, level, above) for level, above in enumerate(zs[1:]))
        return sum(map(densities.normal, zs, ps), densities.standard_normal(zs[-1]))

    def draw(variables, keys):
        return descend(variables, keys=keys)[2]

    return autoencoder(
        parts,
        loss,
        lambda variables, batch: descend(variables, batch)[2][0],
        init=with_params(parts.init, **own),
        sample=lambda variables, keys: parts.decode(variables, draw(variables, keys)[0]),
        draw=lambda variables, keys, batch: descend(variables, batch, keys)[2][0],
        log_weight=log_weight,
        generative=generative(parts, draw, log_prior, code=lambda zs, batch: zs[0]),
        standard_prior=levels == 1,
    )
