"""pythae: its VAE and IWAE, trained by its own BaseTrainer.

The trainer's `train_step`, which is its whole epoch, is left as it is: its DataLoader (one image at a time, collated),
its progress bar, `loss.item()` every step. The program hooks `_optimizers_step`, where a step ends, to read the clock
and to leave when the time is up. The networks are given as pythae wants them: a BaseEncoder with two heads and a
BaseDecoder that ends in a sigmoid, for its cross-entropy takes probabilities. Its IWAE reports another number than the
bound that it descends; what is compared there is the ELBO, which it reports as well.

Variant `nll` is its `get_nll`, image after image as that has it, under `torch.no_grad`, with the default of 100 samples
at a time and with 1,000: the faster counts.
"""

import tempfile
import time
from typing import Any

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import nn

from experiments.benchmark_parts.works import PIXELS, Work
from experiments.benchmark_peers import protocol, torch_nets
from experiments.benchmark_peers.protocol import Meter, Task
from experiments.benchmark_peers.torch_nets import DEVICE

AT_ONCE = (100, 1000)  # samples of get_nll


class Encoder(BaseEncoder):
    def __init__(self, work: Work, whole: nn.Sequential):
        """`whole` has one head for both; here each has its own."""
        super().__init__()
        head, size = whole[-1], work.latent
        self.trunk = whole[:-1]
        self.embedding, self.log_var = (nn.Linear(head.in_features, size) for _ in range(2))
        with torch.no_grad():
            for part, rows in ((self.embedding, slice(size)), (self.log_var, slice(size, None))):
                part.weight.copy_(head.weight[rows])
                part.bias.copy_(head.bias[rows])

    def forward(self, x):
        h = self.trunk(x)
        return ModelOutput(embedding=self.embedding(h), log_covariance=self.log_var(h))


class Decoder(BaseDecoder):
    def __init__(self, whole: nn.Sequential):
        super().__init__()
        self.layers = whole

    def forward(self, z):
        return ModelOutput(reconstruction=torch.sigmoid(self.layers(z)))


class TimeIsUp(Exception):
    pass


class Trainer(BaseTrainer):
    meter: Meter

    def _optimizers_step(self, model_output=None):
        super()._optimizers_step(model_output)
        found = {"loss": model_output.loss.item()}
        if self.model.model_name == "IWAE":
            found = {"minus_elbo": (model_output.recon_loss + model_output.reg_loss).item()}
        self.meter.add(**found)
        if not self.meter.more():
            raise TimeIsUp


def model_of(task: Task) -> VAE:
    work = task.training()
    there, back = torch_nets.encoder(work), torch_nets.decoder(work)
    torch_nets.start(task, there, back)
    shape: dict[str, Any] = {"input_dim": (PIXELS,), "latent_dim": work.latent, "reconstruction_loss": "bce"}
    if work.k:
        return IWAE(IWAEConfig(**shape, number_samples=work.k), Encoder(work, there), Decoder(back))
    return VAE(VAEConfig(**shape), Encoder(work, there), Decoder(back))


def train(task: Task) -> dict[str, Any]:
    work, x = task.training(), torch.from_numpy(task.pixels())
    x = x[: len(x) // work.batch * work.batch]
    with tempfile.TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(
            output_dir=folder, per_device_train_batch_size=work.batch, per_device_eval_batch_size=work.batch,
            learning_rate=1e-3, optimizer_cls="Adam", seed=task.seed, num_epochs=10_000, no_cuda=DEVICE == "cpu",
        )  # fmt: skip
        trainer = Trainer(model_of(task), BaseDataset(x, torch.zeros(len(x))), training_config=settings)
        trainer.meter = Meter.of(task, torch_nets.wait)
        try:
            trainer.train()
        except TimeIsUp:
            return trainer.meter.result()
    raise RuntimeError("the training ended before its time")


@torch.no_grad()
def nll(task: Task) -> dict[str, Any]:
    model, x = model_of(task).to(DEVICE), torch.from_numpy(task.pixels()).to(DEVICE)
    model.eval()
    rates, values = [], []
    for at_once in [some for some in AT_ONCE if some <= task.number]:  # it never takes fewer
        model.get_nll(x[:1], task.number, at_once)  # warm
        begun, images = time.perf_counter(), 0
        while time.perf_counter() - begun < task.seconds / len(AT_ONCE):
            values.append((images, -float(model.get_nll(x[images : images + 1], task.number, at_once))))
            images += 1
        rates.append(images * task.number / (time.perf_counter() - begun))
    return {"rate": max(rates), "nll": by_image(values)}


def by_image(values: list[tuple[int, float]]) -> list[float]:
    """Of the first images, each with the mean of its estimates."""
    images = range(1 + max(image for image, _ in values))
    return [float(np.mean([value for at, value in values if at == image])) for image in images]


if __name__ == "__main__":
    protocol.main({"train": train, "nll": nll})
