from jaxae import axis, divergences, gaussian
from jaxae.errors import InputError, known
from jaxae.schedules import at_step
from jaxae.types import Method, Net, Normal, Objective, Weight

SAMPLING = ("weighted", "stratified")


def beta_tcvae(
    net: Net, *, alpha: Weight = 1.0, beta: Weight = 6.0, gamma: Weight = 1.0, sampling: str = "stratified"
) -> Method:
    """Beta-TCVAE: the KL is cut in three, and the dependence among the latent units is what is weighed up.

    Chen et al. 2018 (arXiv:1802.04942), eq. 4; the estimates of q(z) from a batch: appendix C.

    loss = -log p(x | z) + alpha log q(z | x) / q(z) + beta log q(z) / prod_j q(z_j) + gamma log prod_j q(z_j) / p(z_j),
    z ~ q(z | x), q(z) the mean of q(z | n) over the training set, in nats an example. At weights of 1 it is minus the
    ELBO, with the KL taken at the sample, whatever the estimate of q(z): that cancels.

    couples: q(z), which the global batch's posteriors stand for
    alpha: weight of the mutual information of example and code
    beta: weight of the total correlation of the latent units
    gamma: weight of the KL of each latent unit's aggregate to the prior
    sampling: stratified, whose values mean what they say; or weighted, off by up to log(examples) for each unit
    """
    known("sampling", sampling, SAMPLING)
    if net.examples < 1:
        raise InputError(f"examples {net.examples}: expected the size of the training split: give Net(..., examples=N)")
    base = gaussian.bind(net)

    def loss(variables, keys, batch, step):
        terms = base.terms(variables, keys, batch)
        everyone = Normal(*map(axis.gather, terms.q))
        places = axis.places(len(terms.z))
        aggregate = divergences.log_aggregate(terms.z, everyone, places, net.examples, sampling == "stratified")
        information = divergences.index_code_mi(terms.z, terms.q, aggregate)
        correlation = divergences.total_correlation(aggregate)
        each = divergences.dimension_wise_kl(terms.z, aggregate)
        weights = [at_step(weight, step) for weight in (alpha, beta, gamma)]
        value = terms.reconstruction + weights[0] * information + weights[1] * correlation + weights[2] * each
        own = {"mutual_information": information, "total_correlation": correlation, "dimension_wise_kl": each}
        return Objective(value, terms.state, terms.metrics(**own))

    return base.method(loss)
