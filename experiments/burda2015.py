"""Burda, Grosse and Salakhutdinov 2015 (arXiv:1509.00519), table 1: VAE and IWAE on MNIST, one and two layers.

    python -m experiments.burda2015 --budget cpu      # 3 seeds a setting
    python -m experiments.burda2015 --budget gpu      # 5 seeds; minutes a setting on one GPU
    python -m experiments.burda2015 --budget paper    # 5 seeds; half an hour a setting and more there
    python -m experiments.burda2015 --budget cpu --only "one layer, VAE k=1"

Each setting is one sweep in runs/burda2015/BUDGET, one program for all its seeds, and goes on where it was stopped;
then 5,000 importance samples for each of the 10,000 test images, which are binarised once from their grey levels, the
same for every run. The rows are in ledger.json; `python -m experiments.ledger` makes the tables.

Kept from the authors' protocol: 59,600 training images, binarised afresh at every access (or the static binarisation,
whose 50,000 are what it has); 784-200-200-50-200-200-784, tanh; two layers 784-200-200-100-100-100-50 and mirrored; the
output bias starts at the logit of the training mean. VAE k is the mean of k log-weights, IWAE k the log of their mean.

Changed at all budgets: batches are reshuffled every pass, the gradient is the batch's mean instead of its sum (Adam
differs only in its epsilon, which is 20 times smaller here to make up for it), and Adam's second moment starts at zero
with its correction, not at one. VAE k = 1 with one layer takes its KL in closed form; the authors sample it.
paper: batch 20, 3,280 passes in eight stages of learning rates, Adam (0.99, 0.999).
cpu: batch 500, 40 passes whatever the setting, Muon with a warm-up and a cosine: what two cores do in 20 minutes to two
and a half hours (k of 50 in ten pieces of the batch, which the cache holds; in one in the rows of commits be48567 and
e650e61, VAE and IWAE k = 50 of one layer); and 200 passes of the VAE with k = 1. On
one seed after ten passes, Muon at 0.015 had a validation ELBO of -101.0 where Adam at 0.003 had -109.6, both with
batches of 500, and twenty passes of Adam at 0.001 with batches of 20 had -99.5.
gpu: as cpu, but 200 passes, Muon at 0.003, and batches in one piece, with all seeds side by side.
"""

from typing import Any

from experiments.ledger import READ, Setting, command_line
from jaxae import Config
from jaxae.cli import finish

CPU_EPOCHS, LONG = 40, 200
PIECES = 10  # of a batch of 500 times 50 samples: 1.2 times as fast as in one
STAGES = (10, 7.2, 5.2, 3.7, 2.7, 1.9, 1.4, 1)  # of the learning rate, in 1e-4, for 1, 3, 9, ..., 2187 passes


def stages() -> str:
    """The paper's schedule, in jaxae's grammar."""
    ends, words = [sum(3**i for i in range(stage + 1)) for stage in range(len(STAGES) - 1)], []
    for rate, end in zip(STAGES, ends):
        words += [f"{rate * 1e-4:.2g}", f"{end}e"]
    return f"piecewise({', '.join([*words, f'{STAGES[-1] * 1e-4:.2g}'])})"


BUDGETS: dict[str, dict[str, Any]] = {
    "paper": {
        "steps": "3280e", "batch_size": 20, "optimizer": "adam", "b1": 0.99, "eps": 5e-6, "learning_rate": stages(),
    },
    "cpu": {
        "steps": f"{CPU_EPOCHS}e", "batch_size": 500, "optimizer": "muon", "b1": 0.95,
        "learning_rate": "warmup_cosine(0.005, 2%)",
    },
}  # fmt: skip
LONGER = {"steps": f"{LONG}e", "learning_rate": "warmup_cosine(0.003, 2%)"}
BUDGETS["gpu"] = {**BUDGETS["cpu"], **LONGER}
SEEDS = {"paper": tuple(range(5)), "gpu": tuple(range(5)), "cpu": tuple(range(3))}
COMMON: dict[str, Any] = {
    "network": "mlp", "width": 200, "depth": 2, "activation": "tanh", "likelihood": "bernoulli", "samples": 5000,
    "validate_every": "20%", "checkpoint_every": "10%",
}  # fmt: skip
DYNAMIC: dict[str, Any] = {"data": "mnist", "binarize": "dynamic", "validation": 400}
STATIC: dict[str, Any] = {"data": "binarized_mnist", "binarize": "none"}
ONE = {
    "VAE k=1": ("vae", {}),
    "VAE k=5": ("miwae", {"groups": 5, "k": 1}),
    "VAE k=50": ("miwae", {"groups": 50, "k": 1}),
    "IWAE k=5": ("iwae", {"k": 5}),
    "IWAE k=50": ("iwae", {"k": 50}),
}
TWO = {
    "VAE k=1": {"k": 1, "bound": "elbo"},
    "VAE k=5": {"k": 5, "bound": "elbo"},
    "VAE k=50": {"k": 50, "bound": "elbo"},
    "IWAE k=5": {"k": 5, "bound": "iwae"},
    "IWAE k=50": {"k": 50, "bound": "iwae"},
}
PUBLISHED = {
    "one layer": dict(zip(ONE, (86.76, 86.47, 86.35, 85.54, 84.78))),
    "two layers": dict(zip(TWO, (85.33, 85.01, 84.78, 83.89, 82.90))),
    "one layer, static": {"VAE k=1": 88.71, "IWAE k=5": 87.63, "IWAE k=50": 87.10},
}


def settings(budget: str) -> list[Setting]:
    """In the order of the paper's table, the cheap ones first."""

    def setting(table: str, name: str, published: float, **own: Any) -> Setting:
        pieces = PIECES if budget == "cpu" and name.endswith("k=50") else 1
        return Setting(table, name, Config(**COMMON | BUDGETS[budget] | {"accumulate": pieces} | own), published, READ)

    made = []
    for name, published in PUBLISHED["one layer"].items():
        method, own = ONE[name]
        made.append(setting("one layer", name, published, method=method, hyperparameters=own, latent=50, **DYNAMIC))
    for name, published in PUBLISHED["two layers"].items():
        two = {"method": "hvae2", "hyperparameters": {"top": 50, "hidden": 100, "layers": 2, **TWO[name]}}
        made.append(setting("two layers", name, published, latent=100, **two, **DYNAMIC))
    for name, published in PUBLISHED["one layer, static"].items():
        method, own = ONE[name]
        made.append(
            setting("one layer, static", name, published, method=method, hyperparameters=own, latent=50, **STATIC)
        )
    if budget == "cpu":
        name = f"VAE k=1, {LONG} passes"
        made.append(setting("one layer, longer", name, 86.76, method="vae", latent=50, **DYNAMIC, **LONGER))
    return made


def main() -> None:
    command_line("burda2015", __doc__, settings, SEEDS)


if __name__ == "__main__":
    finish(main)
