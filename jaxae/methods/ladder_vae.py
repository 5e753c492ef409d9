import jax
import jax.numpy as jnp

from jaxae import densities, random
from jaxae.errors import at_least_one
from jaxae.gaussian import reparameterise
from jaxae.networks.heads import MLP, given, started
from jaxae.parts import bind, with_params
from jaxae.schedules import at_step
from jaxae.types import Codes, LogWeight, Method, Net, Normal, Objective, Weight

DEFAULTS = {"network": "mlp", "likelihood": "bernoulli", "binarize": "dynamic"}


def ladder_vae(net: Net, *, levels: int = 3, hidden: int = 128, beta: Weight = 1.0) -> Method:
    """Ladder VAE: levels of codes, each inferred top-down, from its prior and an upward pass weighed by precision.

    Sonderby et al. 2016 (arXiv:1602.02282), eq. 18 and 19; without batch normalisation, which would couple examples.

    loss = -log p(x | z_1) + beta sum_i KL(q(z_i | x, z_i+1) || p(z_i | z_i+1)), in nats an example: each KL in closed
    form, at a sample of the level above; p(z_L) = N(0, 1). The code is z_1; each level above it has half the units.

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
            found.append(given(head, variables.params[f"estimate_{i}"], d))
        return found

    def descend(variables, batch, keys=None):
        """(q's, p's, z's) of the levels from the bottom up, each given the z above; without keys each z is q's mean."""
        seen, keys = estimates(variables, batch), None if keys is None else random.split(keys, levels)
        q, p = seen[-1], Normal(*map(jnp.zeros_like, seen[-1]))
        found: list[tuple[Normal, Normal, Codes]] = []
        for level in reversed(range(levels)):
            if found:
                p = given(heads[level], variables.params[f"prior_{level + 1}"], found[-1][2])
                q = product(seen[level], p)
            found.append((q, p, q.mean if keys is None else reparameterise(keys[level], q)))
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

    def embed(variables, batch):
        return descend(variables, batch)[2][0]

    def sample(variables, keys):
        *below, top = random.split(keys, levels)
        z = random.normal(top, sizes[-1:])
        for level in reversed(range(levels - 1)):
            z = reparameterise(below[level], given(heads[level], variables.params[f"prior_{level + 1}"], z))
        return parts.decode(variables, z)

    def reconstruct(variables, batch):
        return parts.decode(variables, embed(variables, batch))

    return Method(with_params(parts.init, **own), loss, embed, reconstruct, parts.decode, sample, log_weight=log_weight)


def product(one: Normal, other: Normal) -> Normal:
    """The product of two Gaussians, normalised: precisions add, and weigh the means."""
    share = jax.nn.sigmoid(other.log_var - one.log_var)
    return Normal(share * one.mean + (1 - share) * other.mean, -jnp.logaddexp(-one.log_var, -other.log_var))
