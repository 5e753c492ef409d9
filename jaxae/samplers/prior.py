from typing import Any

from jaxae.run import Trained
from jaxae.samplers.fitted import Fitted

NEEDS = "sample"


def prior(trained: Trained, seed: int = 0) -> Fitted:
    """The prior that the method was trained with.

    Kingma and Welling 2013 (arXiv:1312.6114), section 2.1: z ~ p(z), then the mean of p(x|z).

    Nothing is fitted.
    """
    method: Any = trained.setup.method  # that there is a prior has been seen to

    def draw(keys, label):
        of = method if label is None else method.given(label)
        return of.sample(trained.variables, keys)

    return Fitted(draw, {})
