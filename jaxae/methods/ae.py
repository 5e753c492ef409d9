from jaxae.parts import autoencoder, bind
from jaxae.types import Method, Net, Objective

DEFAULTS = {"network": "linear", "likelihood": "gaussian", "binarize": "none"}


def ae(net: Net) -> Method:
    """Autoencoder: a bottleneck trained by the reconstruction loss alone; the vanilla one-layer form by default.

    Hinton and Salakhutdinov 2006, Science 313:504; with one linear layer on each side and the squared error it spans
    the principal subspace: Bourlard and Kamp 1988, Biological Cybernetics 59:291.

    loss = -log p(x | z), z = encoder(x), in nats an example. Nothing asks the codes to fill the latent space, so
    there is no prior to sample from.
    """
    parts = bind(net, outputs=net.latent)

    def loss(variables, keys, batch, step):
        reconstruction, state = parts.reconstruction(variables, parts.encode(variables, batch), batch)
        return Objective(reconstruction, state, {"reconstruction": reconstruction})

    return autoencoder(parts, loss)
