import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from jaxae import random
from jaxae.errors import InputError, at_least_one
from jaxae.run import Trained
from jaxae.samplers.codes import NUMBERS
from jaxae.samplers.density import Density
from jaxae.samplers.fit import budget, descend
from jaxae.samplers.fitted import Fitted, fitted

NEEDS = "discrete"
MOST = 2**17  # codes of a position


def autoregressive(trained: Trained, seed: int = 0, *, width: int = 64, layers: int = 2, heads: int = 4) -> Fitted:
    """A causal transformer over the whole-number codes, one position after the other.

    van den Oord et al. 2017 (arXiv:1711.00937), section 3.3, learn such a prior over the codes after the autoencoder;
    the network here is that of Vaswani et al. 2017 (arXiv:1706.03762), with the norms before each part.

    width: of each position's vector
    layers: blocks of attention and a network of two layers
    heads: of the attention
    """
    at_least_one(width=width, layers=layers, heads=heads)
    if width % heads:
        raise InputError(f"heads {heads}: expected a divisor of the width, which is {width}")
    method, view = trained.setup.method, trained.setup.view("test")
    assert method.discrete is not None
    if (size := method.discrete.size) > MOST:
        raise InputError(
            f"autoregressive: a position has {size:,} codes: expected at most {MOST:,}, each with a vector"
        )
    codes = jax.eval_shape(method.discrete.encode, trained.variables, view.take(np.zeros(1)))
    density = causal(codes.shape[1], method.discrete.size, width, layers, heads)
    settings = {"width": width, "layers": layers, "heads": heads}
    return fitted(trained, seed, "autoregressive", settings, density, NUMBERS)


class Causal(nn.Module):
    """Logits of each position's code given those before it; uniform at the start."""

    size: int
    width: int
    layers: int
    heads: int

    @nn.compact
    def __call__(self, codes: Int[Array, "batch positions"]) -> Float[Array, "batch positions {self.size}"]:
        before = jnp.pad(codes[:, :-1], ((0, 0), (1, 0)), constant_values=self.size)
        place = self.param("place", nn.initializers.normal(0.02), (codes.shape[1], self.width), jnp.float32)
        code = nn.Embed(self.size + 1, self.width, embedding_init=nn.initializers.normal(0.02), name="code")
        x = code(before) + place[None]
        mask = nn.make_causal_mask(codes)
        for i in range(self.layers):
            h = nn.LayerNorm(name=f"norm_attention_{i}")(x)
            x = x + nn.MultiHeadDotProductAttention(self.heads, name=f"attention_{i}")(h, mask=mask)
            h = nn.Dense(4 * self.width, name=f"hidden_{i}")(nn.LayerNorm(name=f"norm_{i}")(x))
            x = x + nn.Dense(self.width, name=f"outputs_{i}")(nn.gelu(h))
        return nn.Dense(self.size, kernel_init=nn.initializers.zeros, name="logits")(nn.LayerNorm(name="norm")(x))


def causal(positions: int, size: int, width: int, layers: int, heads: int) -> Density:
    """log p(codes) = sum_i log p(code_i | the codes before it), in nats an example."""
    net = Causal(size, width, layers, heads)

    def logits(params, codes) -> Array:
        return net.apply({"params": params}, codes)  # type: ignore[return-value]  # no other collection is asked for

    def log_prob(params, keys, codes):
        of_each = jnp.take_along_axis(nn.log_softmax(logits(params, codes)), codes[..., None], axis=-1)
        return jnp.sum(of_each, axis=(1, 2))

    def fit(seed, codes):
        key = random.stream(random.fixed(seed), "autoregressive")
        params = jax.jit(net.init)(random.stream(key, "init"), jnp.zeros((1, positions), jnp.int32))["params"]

        def loss(params, keys, rows):
            return -log_prob(params, keys, rows)

        return descend(key, params, loss, codes.train, codes.validation, budget(len(codes.train)))

    def draw(params, keys):
        """Each position in turn, the network run again for each: there are few, and no cache of keys to keep."""

        def one(codes, i):
            for_this = random.numbered(keys, i)
            code = jax.vmap(jax.random.categorical)(for_this, logits(params, codes)[:, i])
            return codes.at[:, i].set(code.astype(codes.dtype)), None

        start = jnp.zeros((len(keys), positions), jnp.int32)
        return jax.lax.scan(one, start, jnp.arange(positions))[0]

    return Density(fit, log_prob, draw)
