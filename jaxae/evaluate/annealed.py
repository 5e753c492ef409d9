"""log p(x) by annealed importance sampling, and from above on simulated images: no encoder enters.

Neal 2001 (arXiv:physics/9803008); for decoders, Wu et al. 2016 (arXiv:1611.04273). A chain starts at z ~ p(z) and goes
through the distributions proportional to p(z) p(x|z)^beta, beta from 0 to 1, by Hamiltonian transitions that leave each
of them as it is. Its weight w is the product of p(x|z)^(change of beta) over the points where beta changes: E[w] = p(x)
whatever the number of steps, so that log w is on average below log p(x). A chain that goes back, from an exact draw of
p(z|x), has E[1/w] = 1 / p(x), and log w on average above it: bidirectional Monte Carlo, Grosse et al. 2015
(arXiv:1511.02543). The exact draw is the z that x was simulated from. Step sizes are tuned by chains of their own and
then fixed (`chains`), so that both bounds are true ones.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae import random
from jaxae.errors import InputError
from jaxae.evaluate import chains as chains_of
from jaxae.evaluate.bench import Bench, Group, Model
from jaxae.evaluate.chains import Walked
from jaxae.evaluate.likelihood import by_parts, density_of, monte_carlo, weighing
from jaxae.evaluate.means import mean, standard_error
from jaxae.types import Batch, Generative, Keys, Variables

LEAPFROG = 2  # at equal cost, more distributions do better than longer moves: 500 x 2 is worth 500 x 10 (MNIST, z = 50)
AT_ONCE = 50  # examples whose chains run side by side

Estimates = dict[str, Float[Array, " batch"]]


def annealed(
    generative: Generative, steps: int, chains: int, leapfrog: int = 10
) -> Callable[[Variables, Keys, Batch], Estimates]:
    """(variables, keys, batch) -> per-example estimates of log p(x) in nats.

    log_p: log (1/k) sum w over the k chains of an example, on average below log p(x). log_p_var: its Monte Carlo
    variance by the delta method; too small where ess, (sum w)^2 / sum w^2, is near 1, and NaN for one chain.
    log_p_half, log_p_quarter and log_p_apart: of parts of the chains, for the error by `likelihood.monte_carlo`.
    acceptance: the mean probability of the chains' moves.

    steps: in which beta goes from 0 to 1, finer near both (`chains.betas`); one is importance sampling from the prior,
    with a move that changes nothing
    leapfrog: steps of a trajectory, each with the gradients of log p(x|z) and log p(z)

    Memory is that of decoding the batch `chains` times, with its gradient, whatever the number of steps. The tuning
    costs what 4 more chains of at most 500 steps cost. Raises InputError for a number below 1.
    """
    plan = chains_of.plan(generative, steps, chains, leapfrog)

    def estimate(variables, keys, batch):
        for_sizes, for_chains = random.split(keys)
        sizes = chains_of.step_sizes(plan, variables, for_sizes, batch)
        walked = chains_of.forward(plan, variables, for_chains, batch, sizes)
        return _average(walked) | by_parts(walked.log_w)

    return estimate


def bdmc(
    generative: Generative, steps: int, chains: int, leapfrog: int = 10
) -> Callable[[Variables, Keys, Batch], Estimates]:
    """(variables, keys, batch) -> both bounds of log p(x) in nats, for images that the model makes: of `batch` the
    labels alone are read.

    lower: log_p of `annealed`. upper: -log (1/k) sum 1/w of k chains that go back, by the same step sizes, all from the
    latents that x was simulated from: upper_var leaves out what other latents would change. Beside each its _var, _ess
    and _acceptance. gap: upper - lower, on average above 0. It is how far `annealed` may be off on real images, as
    far as those are like the simulated ones. For means over examples, and their errors: `summary`.
    """
    plan = chains_of.plan(generative, steps, chains, leapfrog)

    def estimate(variables, keys, batch):
        for_z, for_x, for_sizes, up, down = random.split(keys, 5)
        latents = generative.draw(variables, for_z)
        batch = batch._replace(x=generative.simulate(variables, for_x, latents, batch))
        sizes = chains_of.step_sizes(plan, variables, for_sizes, batch)
        lower = _average(chains_of.forward(plan, variables, up, batch, sizes))
        upper = _average(chains_of.backward(plan, variables, down, latents, batch, sizes), back=True)
        both = {f"lower_{name}": value for name, value in lower.items()}
        both |= {f"upper_{name}": value for name, value in upper.items()}
        gap = upper["log_p"] - lower["log_p"]
        return {name.replace("_log_p", ""): value for name, value in both.items()} | {"gap": gap}

    return estimate


def summary(of: dict[str, np.ndarray]) -> dict[str, float | None]:
    """Means over examples of what `bdmc` found, with their standard errors (None for one example).

    Examples are independent, and their spread holds all that is random, the chains' part too. Of lower_se and upper_se
    most is how the images differ, which cancels in gap_se.
    """
    result: dict[str, float | None] = {}
    for name in ("lower", "upper", "gap"):
        result |= {name: mean(of[name]), f"{name}_se": standard_error(of[name])}
    return result


def _average(walked: Walked, back: bool = False) -> Estimates:
    """Over the chains: the mean of w, or of 1/w, and what it tells of log p(x)."""
    k, sign = len(walked.log_w), -1 if back else 1
    log_w = sign * walked.log_w
    ess = 1 / jnp.sum(jnp.square(jax.nn.softmax(log_w, axis=0)), axis=0)
    return {
        "log_p": sign * (jax.nn.logsumexp(log_w, axis=0) - math.log(k)),
        "log_p_var": jnp.maximum(k / ess - 1, 0.0) / (k - 1),
        "ess": ess,
        "acceptance": jnp.mean(walked.acceptance, axis=0),
    }


def annealing(bench: Bench) -> Group:
    """-log p(x) by annealed importance sampling on some of the split, beside that of the same images by importance
    sampling; and both bounds on as many simulated images."""
    if bench.method.generative is None:
        raise InputError(f"{bench.name} has no density p(x|z) p(z) over real vectors z: nothing to anneal")
    s = bench.settings

    def anneal(method, variables, keys, batch, step):
        return annealed(method.generative, s.ais_steps, s.ais_chains, LEAPFROG)(variables, keys, batch)

    def bound(method, variables, keys, batch, step):
        return bdmc(method.generative, s.ais_steps, s.ais_chains, LEAPFROG)(variables, keys, batch)

    real, simulated = bench.over(anneal, "ais"), bench.over(bound, "bdmc")
    view = bench.view(bench.split).spread(s.ais_examples, AT_ONCE)
    weighed = weighing(bench, view.chunk)

    def measure(models: Sequence[Model]) -> list[dict[str, Any]]:
        told, untold = density_of(bench.method, view.labels)
        settings = {"examples": len(view), "chains": s.ais_chains, "steps": s.ais_steps} | told
        settings |= {"importance_samples": s.samples}
        found = []
        for of, both, usual in zip(real(models, view), simulated(models, view), weighed(models, view)):
            bounds, gain = summary(both), of["log_p"] - usual["log_p"]
            known = {
                "ais_nll": -mean(of["log_p"]),
                "ais_nll_mc_se": monte_carlo(of)[0],
                "ais_nll_data_se": standard_error(of["log_p"]),
                "ais_acceptance": mean(of["acceptance"]),
                "ais_importance_nll": -mean(usual["log_p"]),
                "ais_importance_nll_mc_se": monte_carlo(usual)[0],
                **{f"bdmc_{name}": value for name, value in bounds.items()},
            }
            notes = [
                beside(-mean(usual["log_p"]), s.samples, gain),
                f"on {_images(len(view), 'simulated ')} the two bounds of AIS lie "
                f"{_nats(bounds['gap'], bounds['gap_se'])} apart on average: on images like these its "
                "estimate may be wrong by that much",
                *untold,
            ]
            found.append({**known, "settings": settings, "notes": notes})
        return found

    return measure


def beside(nll: float, samples: int, gain: Float[np.ndarray, " n"]) -> str:
    """What annealing found beside `nll` by importance samples: `gain` more of log p(x) for each image."""
    gained, se = mean(gain), standard_error(gain)
    found, less = _nats(abs(gained), se), "less" if gained >= 0 else "more"
    less += ": its chains are too short" if se is not None and gained < -2 * se else ""
    has = "has" if len(gain) == 1 else "have"
    by = f"{nll:.3f} nats by {samples:,} importance samples"
    return f"the same {_images(len(gain))} {has} {by}: annealing finds {found} {less}"


def _images(count: int, kind: str = "") -> str:
    return f"{count:,} {kind}image{'' if count == 1 else 's'}"


def _nats(value: float | None, se: float | None) -> str:
    return f"{value:.3f} nats" + ("" if se is None else f" (standard error {se:.3f})")
