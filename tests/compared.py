"""Folders of runs and sweeps made up for the tests of what compares them: no weights, only what is read."""

import json

from jaxae import command
from jaxae.config import Config
from jaxae.files import write_json

DATA = {"name": "digits", "about": "made", "sha256": "d" * 64, "sizes": {"train": 10, "validation": 4, "test": 40}}


def measures(nll, /, **others):
    """What evaluation.json holds, of one number."""
    known = {
        "elbo": -nll - 1, "nll": nll, "kl": 6.0, "reconstruction": nll - 5, "mse": nll / 100, "bits_per_dim": nll / 50,
        "elbo_mc_se": 0.01, "nll_mc_se": 0.02, "samples": 64, "effective_samples": 12.5, "examples": 40, "step": 10,
        "split": "test", "digest": f"{round(nll * 1e6):064x}",
    }  # fmt: skip
    return known | others


def run(path, seed, nll=None, outcome=None, data=DATA, curve=True, **config):
    """One run's folder. nll of None: not evaluated; a dict: the whole of evaluation.json."""
    beta = config.pop("beta", None)
    config |= {"data": config.pop("config_data")} if "config_data" in config else {}
    given = {"steps": 10, "hyperparameters": {} if beta is None else {"beta": beta}, **config}
    of = Config(seed=seed, **given)
    path.mkdir(parents=True)
    write_json(path / "config.json", of.to_dict())
    record = {"command": command.of_run(of, path), "data": data, "versions": {"jaxae": "0.1.0"}, "device": "cpu"}
    write_json(path / "record.json", record)
    if nll is not None:
        write_json(path / "evaluation.json", nll if isinstance(nll, dict) else measures(nll))
    if outcome:
        write_json(path / "outcome.json", outcome)
    if curve:
        rows = [{"step": s, "validation_loss": 30 - s / 2, "validation_elbo": -31 + s / 2} for s in (2, 6, 10)]
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def sweep(path, values, diverged=(), untrained=(), unevaluated=(), **known):
    """A sweep over seeds and beta, all in one order of the data. values: {(seed, beta): nll}."""
    names = {key: f"seed={key[0]},beta={key[1]:g}" for key in values}
    for (seed, beta), nll in values.items():
        key, place, config = (seed, beta), path / "members" / names[seed, beta], {"beta": beta, "order_seed": 0}
        if key in diverged:
            run(place, seed, outcome={"outcome": "diverged", "step": 7, "why": "loss is nan"}, **config)
        elif key not in untrained:
            finished = {"outcome": "finished", "step": 10, "why": None}
            run(place, seed, None if key in unevaluated else nll, finished, **config)
    path.mkdir(parents=True, exist_ok=True)
    grid = {"seeds": sorted({s for s, _ in values}), "grid": {"beta": sorted({b for _, b in values})}}
    plan = {
        "format": 1,
        "lanes": "map",
        "block": 1,
        "exact": False,
        "members": list(names.values()),
        "shared_batches": True,
        "base": Config(steps=10).to_dict(),
        **grid,
    }
    write_json(path / "sweep.json", {**plan, **known})
    return path


GRID = {(seed, beta): 20 + beta + seed / 8 + (seed * beta) % 7 / 16 for seed in range(5) for beta in (1.0, 2.0, 4.0)}
