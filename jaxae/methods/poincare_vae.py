import math

import jax
import jax.numpy as jnp

from jaxae import densities, gaussian, hyperbolic
from jaxae.errors import InputError, at_least_one
from jaxae.gaussian import reparameterise
from jaxae.parts import bind, with_params
from jaxae.types import Method, Net, Normal, Weight

LEAST = 1e-30  # of the curvature
USUAL, FARTHEST = 40.0, 80.0  # of sqrt(curvature) |u| for the prior's u: of length sqrt(latent), and 5 more at most


def poincare_vae(net: Net, *, curvature: float = 1.0, planes: int = 128, beta: Weight = 1.0) -> Method:
    """Poincare VAE: the code lies in a hyperbolic space, whose room grows with the distance as a tree's does.

    Mathieu et al. 2019 (arXiv:1901.06033), section 3, with wrapped normals for the prior and the posterior.

    loss = -log p(x | z) + beta (log q(z | x) - log p(z)), z ~ q(z | x), in nats an example: the KL is that of the
    sample. z = exp_mu(v), v ~ N(0, exp(log_var)) in the tangent space at the origin, carried to mu; p(z) has mu at
    the origin and variances of 1. Codes are normal coordinates, u = log_0(z): there p is N(0, 1), any vector is a
    point, and log q(u | x) = log N(v; 0, exp(log_var)) + (n - 1) log(S(|u|) / S(|v|)), S(r) = sinh(sqrt(c) r) / r.
    The decoder reads the distances of z from learned hyperplanes; the code is mu.

    codes: normal coordinates of a hyperbolic space: a straight line between two of them is no shortest path there
    curvature: c, above 0; the space has the curvature -c everywhere, and as c goes to 0 it is flat
    planes: hyperplanes whose distances the decoder reads (its gyroplane layer)
    beta: weight of the KL divergence; at 1 the loss is minus the ELBO
    """
    if not (math.isfinite(curvature) and curvature > 0):
        raise InputError(f"curvature {curvature}: expected a number above 0; the space has minus that curvature")
    length = math.sqrt(net.latent)
    most = min(USUAL / length, FARTHEST / (length + 5)) ** 2
    if not LEAST <= curvature <= most:
        raise InputError(
            f"curvature {curvature}: expected {LEAST:g} to {most:.3g} with latent {net.latent}: the prior's codes must "
            "lie where single precision holds their sinh"
        )
    at_least_one(planes=planes)
    flat = bind(net, outputs=2 * net.latent, code=planes)

    def learned(key, batch):
        normals = jax.nn.initializers.lecun_normal()(key, (net.latent, planes), jnp.float32)
        return {"normals": normals, "offsets": jnp.zeros(planes, jnp.float32)}

    def through(of):
        """`of` the distances, in place of the code."""

        def read(variables, z, *rest):
            own = variables.params["planes"]
            return of(variables, hyperbolic.gyroplanes(z, own["normals"], own["offsets"], curvature), *rest)

        return read

    def draw_image(variables, keys, z):
        return through(lambda variables, read: flat.draw(variables, keys, read))(variables, z)

    def draw(variables, keys, batch):
        mean, log_var = jnp.split(flat.encode(variables, batch), 2, axis=-1)
        at_origin = Normal(jnp.zeros_like(mean), log_var)
        v = reparameterise(keys, at_origin)
        z = hyperbolic.moved(v, mean, curvature)
        spread = hyperbolic.log_spread(z, curvature) - hyperbolic.log_spread(v, curvature)
        return z, densities.normal(v, at_origin) + spread

    def embed(variables, batch):
        return jnp.split(flat.encode(variables, batch), 2, axis=-1)[0]

    parts = flat._replace(
        init=with_params(flat.init, planes=learned),
        decode=through(flat.decode),
        log_prob=through(flat.log_prob),
        reconstruction=through(flat.reconstruction),
        draw=draw_image,
    )
    return gaussian.drawn(net, parts, draw, embed, beta)
