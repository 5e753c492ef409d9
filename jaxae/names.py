"""The names a user may choose from, kept apart from the code behind them so that reading them costs no jax.

Each tuple is checked against its implementation by the tests.
"""

import os

LIKELIHOODS = ("bernoulli", "gaussian", "gaussian_learned", "gaussian_optimal", "discretised_logistic")
OF_PROBABILITIES = ("bernoulli", "discretised_logistic")  # the others are densities
BINARIZE = ("none", "threshold", "fixed", "dynamic")
OPTIMIZERS = (
    "adam", "adamw", "nadam", "amsgrad", "adamax", "radam", "adabelief", "lion", "lamb", "muon", "rmsprop", "sgd",
    "adagrad",
)  # fmt: skip
SETTINGS = {name: {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 0.0} for name in OPTIMIZERS}
SETTINGS["lion"]["b2"], SETTINGS["muon"]["b1"] = 0.99, 0.95
SETTINGS["rmsprop"] |= {"b1": 0.0, "b2": 0.99}
"""What update rules take beside the learning rate, by default."""
UNUSED = {"sgd": ("b2", "eps"), "adagrad": ("b1", "b2"), "lion": ("eps",)}
"""Of these, what does nothing."""
DECAYING = ("adamw", "lion", "lamb", "muon")  # those that know a weight decay
OF_RULES = tuple(SETTINGS["adam"])
"""In this order; of these a rule of the user's own is given what it takes."""
OWN_RULE = "(learning_rate, *, ...) -> GradientTransformation"
OWN_NETWORK = "(spec) -> (outputs -> encoder, decoder)"
OWN_LIKELIHOOD = "(scale) -> Likelihood"
OWN_MEASURE = "(method, variables, keys, batch) -> [batch], or {name: [batch]}"
"""The forms of functions of the user's own."""
OF_NETWORKS = ("width", "depth", "activation", "likelihood", "scale")
"""Settings of a config that modules of the user's own take the place of."""
DTYPES = ("float32", "bfloat16")
PARALLEL = ("jit", "pmap", "none")
SPLITS = ("train", "validation", "test")
CLOSING = ("test", "validation", "none")
OF_TABLES = frozenset({
    "run", "member", "outcome", "step", "split", "examples", "data_sha256", "setting_sha256", "evaluation_seed",
    "digest", "sampler", "annealing", "feature_space", "density_of", "nats_of", "reconstruction_of", "caveat",
    "probed", "pixels", "not_finite", "start_digest",
    "method_sha256", "network_sha256", "likelihood_sha256", "optimizer_sha256",
})  # fmt: skip
"""Columns of a table of runs by which they are told apart, or whether they compare."""
METRICS = (
    "likelihood", "decomposition", "ais", "latents", "probes", "codebook", "disentanglement", "samples",
)  # fmt: skip
"""Groups of measures: see `jaxae.evaluate.metrics`."""
BUILT_IN = {
    "digits": "1,797 handwritten digits, 8 x 8, from scikit-learn",
    "sprites": "737,280 rendered shapes with five known factors, 64 x 64, after dSprites",
}
TFDS = {
    "mnist": "70,000 handwritten digits, 28 x 28",
    "binarized_mnist": "the static binarisation of MNIST by Larochelle and Murray, 28 x 28",
    "fashion_mnist": "70,000 pictures of clothing, 28 x 28",
    "kmnist": "70,000 cursive Japanese characters, 28 x 28",
    "cifar10": "60,000 colour photographs in 10 classes, 32 x 32",
}
DATA_SUFFIXES = (".npy", ".npz", ".gz", ".idx", "-ubyte")


IN_MEMORY = "arrays:"  # begins the name of a data set that no file holds


def is_path(name: str) -> bool:
    """Whether `name` means the user's files. The catalogue's names never do: write ./mnist for a folder."""
    if name in BUILT_IN or name in TFDS or name.startswith(("tfds:", IN_MEMORY)):
        return False
    return "/" in name or os.sep in name or name.endswith(DATA_SUFFIXES) or os.path.exists(name)
