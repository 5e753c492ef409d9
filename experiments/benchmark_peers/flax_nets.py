"""The networks in flax.linen, in the form of Flax's own VAE example: mean and log-variance are two layers."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from experiments.benchmark_parts.works import SIDE, Layer, Work
from experiments.benchmark_peers.protocol import Task

ACTIVATIONS = {"relu": nn.relu, "tanh": nn.tanh}


class Encoder(nn.Module):
    work: Work

    @nn.compact
    def __call__(self, x):
        act = ACTIVATIONS[self.work.activation]
        if self.work.network == "conv":
            x = x.reshape(-1, SIDE, SIDE, 1)
        for number, layer in enumerate(self.work.encoder[:-1]):
            if layer.kind == "dense":
                x = x.reshape(len(x), -1)
            x = act(module(layer, f"layer{number}")(x))
        return nn.Dense(self.work.latent, name="mean")(x), nn.Dense(self.work.latent, name="logvar")(x)


class Decoder(nn.Module):
    work: Work

    @nn.compact
    def __call__(self, z):
        act, *before, last = ACTIVATIONS[self.work.activation], *self.work.decoder
        for number, layer in enumerate(before):
            z = crop(layer, act(module(layer, f"layer{number}")(shaped(layer, z))))
        if last.kind == "dense":
            return module(last, "pixels")(z)
        bias = self.param("bias", nn.initializers.zeros, (last.side, last.side, 1))
        return (module(last, "pixels", use_bias=False)(z) + bias).reshape(len(z), -1)


def module(layer: Layer, name: str, **options: Any) -> nn.Module:
    if layer.kind == "dense":
        return nn.Dense(layer.outputs, name=name)
    kind = nn.Conv if layer.kind == "conv" else nn.ConvTranspose
    return kind(layer.outputs, (layer.kernel, layer.kernel), (2, 2), name=name, **options)


def shaped(layer: Layer, z):
    return z.reshape(-1, layer.before, layer.before, layer.inputs) if layer.kind == "up" and z.ndim == 2 else z


def crop(layer: Layer, z):
    return z[:, : layer.side, : layer.side] if layer.kind == "up" else z


def start(task: Task) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters of encoder and decoder that all peers start from."""
    work, found = task.training(), [tuple(map(jnp.asarray, pair)) for pair in task.parameters()]
    there, back = found[: len(work.encoder)], found[len(work.encoder) :]
    encoder = {f"layer{n}": {"kernel": kernel, "bias": bias} for n, (kernel, bias) in enumerate(there[:-1])}
    (kernel, bias), size = there[-1], work.latent
    encoder["mean"] = {"kernel": kernel[:, :size], "bias": bias[:size]}
    encoder["logvar"] = {"kernel": kernel[:, size:], "bias": bias[size:]}
    decoder: dict[str, Any] = {f"layer{n}": {"kernel": k, "bias": b} for n, (k, b) in enumerate(back[:-1])}
    kernel, bias = back[-1]
    if work.network == "conv":
        return encoder, decoder | {"pixels": {"kernel": kernel}, "bias": bias}
    return encoder, decoder | {"pixels": {"kernel": kernel, "bias": bias.reshape(-1)}}
