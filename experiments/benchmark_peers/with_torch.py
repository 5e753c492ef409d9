"""Plain PyTorch: modules, `loss.backward()`, `optimizer.step()` in a Python loop.

Variant `eager` is the loop as it stands; `compile` puts `torch.compile` round the loss as its tutorials do. Both have
what costs nothing to ask for: the images in memory as one float tensor that a shuffled index cuts (a DataLoader is
several times slower for images this small), `fused=True` for Adam, and `set_to_none` gradients (the default). On a GPU
the images live there, products are in TF32 as XLA's are, and losses are read at the end, for the loop runs ahead.
"""

import math
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from experiments.benchmark_peers import protocol, torch_nets
from experiments.benchmark_peers.protocol import Meter, Task
from experiments.benchmark_peers.torch_nets import DEVICE


class VAE(nn.Module):
    """Its forward pass is the mean loss of a batch, in nats an example."""

    def __init__(self, work):
        super().__init__()
        self.encoder, self.decoder, self.k = torch_nets.encoder(work), torch_nets.decoder(work), work.k

    def forward(self, x):
        mean, log_var = self.encoder(x).chunk(2, dim=-1)
        if self.k:
            return self.negative_bound(x, mean, log_var)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_var)
        nll = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = 0.5 * torch.sum(mean.square() + log_var.exp() - 1 - log_var)
        return ((nll + kl) / len(x))[None]

    def negative_bound(self, x, mean, log_var):
        noise = torch.randn(self.k, *mean.shape, device=mean.device)
        z = mean + noise * torch.exp(0.5 * log_var)
        logits = self.decoder(z.flatten(0, 1)).unflatten(0, (self.k, len(x)))
        nll = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
        log_w = -nll - 0.5 * (z.square() - noise.square() - log_var).sum(-1)
        bound = torch.logsumexp(log_w, 0) - math.log(self.k)
        return torch.stack([-bound.mean(), -log_w.detach().mean()])


def train(task: Task, compiled: bool) -> dict[str, Any]:
    work, x = task.training(), torch.from_numpy(task.pixels()).to(DEVICE)
    torch.manual_seed(task.seed)
    model = VAE(work)
    torch_nets.start(task, model.encoder, model.decoder)
    model.to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    loss_of = torch.compile(model) if compiled else model
    meter, losses = Meter.of(task, torch_nets.wait), []
    while True:
        for index in torch.randperm(len(x), device=DEVICE).split(work.batch):
            if len(index) < work.batch:  # another shape would compile again
                continue
            if not meter.more():
                found = torch.stack(losses).cpu().numpy()
                names = ("loss", "minus_elbo") if work.k else ("loss",)
                return {**meter.result(), "curves": {name: meter.windowed(found[:, n]) for n, name in enumerate(names)}}
            optimizer.zero_grad()
            found = loss_of(x[index])
            found[0].backward()
            optimizer.step()
            losses.append(found.detach())
            meter.count()


if __name__ == "__main__":
    protocol.main({"eager": partial(train, compiled=False), "compile": partial(train, compiled=True)})
