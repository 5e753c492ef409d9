from jaxae.run import Trained
from jaxae.samplers.codes import VECTORS
from jaxae.samplers.density import standardised
from jaxae.samplers.fitted import Fitted, fitted
from jaxae.samplers.mixture import gaussians

NEEDS = "decode"


def gaussian(trained: Trained, seed: int = 0) -> Fitted:
    """One Gaussian with a full covariance, fitted to the codes.

    Ghosh et al. 2019 (arXiv:1903.12436), section 4: the simplest of its ex-post density estimators.
    """
    return fitted(trained, seed, "gaussian", {}, standardised(gaussians(1)), VECTORS)
