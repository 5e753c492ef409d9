from jaxae import flows
from jaxae.errors import at_least_one
from jaxae.methods.iaf_vae import with_flow
from jaxae.types import Method, Net, Weight


def planar_vae(net: Net, *, length: int = 8, beta: Weight = 1.0) -> Method:
    """VAE with planar flows: a Gaussian sample is squeezed or stretched along planes that the encoder chooses.

    Rezende and Mohamed 2015 (arXiv:1505.05770), eq. 10 and 15, with the u of their appendix A.1, by which each step
    can be inverted.

    loss = -log p(x | z_K) + beta (log q(z_K | x) - log N(z_K; 0, 1)), z_k = z_(k-1) + u_k tanh(w_k.z_(k-1) + b_k),
    log q(z_K | x) = log N(z_0; mean, exp(log_var)) - sum_k log(1 + u_k.w_k tanh'(w_k.z_(k-1) + b_k)),
    z_0 ~ N(mean, exp(log_var)), in nats an example: the KL has no closed form, and is taken at the sample. The encoder
    makes the mean, the log-variance and every u_k, w_k and b_k of x. The code is where the flow takes the mean of z_0.

    length: of the flow, its steps, K; each asks the encoder for 2 latent + 1 more outputs
    beta: weight of the KL divergence; at 1 the loss is minus the ELBO; a schedule up to 1 is the paper's annealing
    """
    at_least_one(length=length)
    flow = flows.Planar(net.latent, length)
    return with_flow(net, flow.outputs, lambda variables, z, h: flow(z, h), beta)
