"""The names a user may choose from, kept apart from the code behind them so that reading them costs no jax.

Each tuple is checked against its implementation by the tests.
"""

LIKELIHOODS = ("bernoulli", "gaussian", "gaussian_learned", "gaussian_optimal", "discretised_logistic")
BINARIZE = ("none", "threshold", "fixed", "dynamic")
OPTIMIZERS = (
    "adam", "adamw", "nadam", "amsgrad", "adamax", "radam", "adabelief", "lion", "lamb", "muon", "rmsprop", "sgd",
    "adagrad",
)  # fmt: skip
MOMENTS = {name: {"b1": 0.9, "b2": 0.999} for name in OPTIMIZERS}
MOMENTS |= {"lion": {"b1": 0.9, "b2": 0.99}, "rmsprop": {"b1": 0.0, "b2": 0.99}}
UNUSED = {"sgd": ("b2", "eps"), "adagrad": ("b1", "b2"), "lion": ("eps",)}
"""Of these, what does nothing."""
DECAYING = ("adamw", "lion", "lamb", "muon")  # those that know a weight decay
DTYPES = ("float32", "bfloat16")
PARALLEL = ("jit", "pmap", "none")
SPLITS = ("train", "validation", "test")
METRICS = (
    "likelihood", "decomposition", "ais", "latents", "probes", "codebook", "disentanglement", "samples",
)  # fmt: skip
"""Groups of measures: see `jaxae.evaluate.metrics`."""
