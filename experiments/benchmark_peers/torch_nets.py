"""The networks in PyTorch, as one writes them there: nn.Sequential of nn.Linear and nn.Conv2d, channels first."""

from typing import Any

import numpy as np
import torch
from torch import nn

from experiments.benchmark_parts.works import SIDE, Layer, Work
from experiments.benchmark_peers.protocol import Task

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cuda":
    torch.set_float32_matmul_precision("high")  # TF32, as XLA's default is there
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


def wait(state: Any = None) -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


class Crop(nn.Module):
    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def forward(self, x):
        return x[:, :, : self.side, : self.side]


class Pixels(nn.Module):
    """The decoder's last convolution, whose bias is one number a pixel."""

    def __init__(self, layer: Layer):
        super().__init__()
        self.up = nn.ConvTranspose2d(layer.inputs, layer.outputs, layer.kernel, 2, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(1, 1, layer.side, layer.side))

    def forward(self, x):
        return self.up(x) + self.bias


def encoder(work: Work) -> nn.Sequential:
    """[n, ...] -> mean and log-variance side by side."""
    parts: list[nn.Module] = [nn.Unflatten(1, (1, SIDE, SIDE))] if work.network == "conv" else []
    for number, layer in enumerate(work.encoder):
        if layer.kind == "dense" and number and work.encoder[number - 1].kind == "conv":
            parts.append(nn.Flatten())
        parts += modules(layer)
        if number < len(work.encoder) - 1:
            parts.append(ACTIVATIONS[work.activation]())
    return nn.Sequential(*parts)


def decoder(work: Work) -> nn.Sequential:
    """[n, latent] -> logits [n, 784]."""
    parts: list[nn.Module] = []
    for number, layer in enumerate(work.decoder):
        if layer.kind == "up" and work.decoder[number - 1].kind == "dense":
            parts.append(nn.Unflatten(1, (layer.inputs, layer.before, layer.before)))
        last = number == len(work.decoder) - 1
        parts += [Pixels(layer), nn.Flatten()] if last and layer.kind == "up" else modules(layer)
        if not last:
            parts.append(ACTIVATIONS[work.activation]())
    return nn.Sequential(*parts)


def modules(layer: Layer) -> list[nn.Module]:
    if layer.kind == "dense":
        return [nn.Linear(layer.inputs, layer.outputs)]
    if layer.kind == "up":
        crop = [Crop(layer.side)] if 2 * layer.before > layer.side else []
        return [nn.ConvTranspose2d(layer.inputs, layer.outputs, layer.kernel, 2, 1), *crop]
    needed = 2 * (layer.side - 1) + layer.kernel - layer.before  # as much as an output of half the side needs
    if needed % 2:
        return [nn.ZeroPad2d((0, needed, 0, needed)), nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, 2)]
    return [nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, 2, needed // 2)]


@torch.no_grad()
def start(task: Task, *sides: nn.Sequential) -> None:
    """Gives the encoder and the decoder the parameters that all peers start from."""
    work = task.training()
    table, kinds = work.encoder + work.decoder, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | Pixels
    modules: list[Any] = [part for side in sides for part in side if isinstance(part, kinds)]
    for number, (module, layer, values) in enumerate(zip(modules, table, task.parameters(), strict=True)):
        beside = [one for one in table[max(number - 1, 0) : number + 2] if one.kind != "dense"]
        channels = (beside[0].outputs if beside[0].kind == "conv" else beside[0].inputs) if beside else 0
        kernel, bias = torch_layout(layer, *values, channels=channels)
        (module.up if isinstance(module, Pixels) else module).weight.copy_(torch.from_numpy(kernel))
        module.bias.copy_(torch.from_numpy(bias).reshape(module.bias.shape))


def torch_layout(layer: Layer, kernel: np.ndarray, bias: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """jaxae's [in, out] and [h, w, in, out] as PyTorch's. `channels`: of the image that a dense layer reads or makes,
    which is flattened with the channels last there and first here."""
    if layer.kind == "conv":
        return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)), bias
    if layer.kind == "up":
        return np.ascontiguousarray(kernel[::-1, ::-1].transpose(2, 3, 0, 1)), bias
    if channels and layer.inputs > layer.outputs:
        kernel = kernel.reshape(-1, channels, layer.outputs).swapaxes(0, 1).reshape(kernel.shape)
    elif channels:
        kernel = kernel.reshape(layer.inputs, -1, channels).swapaxes(1, 2).reshape(kernel.shape)
        bias = bias.reshape(-1, channels).T.reshape(-1)
    return np.ascontiguousarray(kernel.T), np.ascontiguousarray(bias)
