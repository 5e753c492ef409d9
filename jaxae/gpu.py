"""What XLA is told where there may be GPUs, before it starts."""

import os
from importlib.util import find_spec

FLAGS = {
    "xla_gpu_deterministic_ops": "true",
    "xla_gpu_enable_triton_gemm": "false",
    "xla_gpu_enable_command_buffer": "-WHILE",
}
"""The first: kernels are chosen by rule. XLA else chooses by timing them, and each process may end with others, whose
sums round otherwise: then one command gives other digits each time. The second: by rule no product is Triton's; XLA
would still prepare for it, and then make biases and activations in passes of their own. The third: a loop asks the host
whether to go on. Where it asked the device, a small step took a sixth less; but of a small program that draws until it
accepts, called again and again, an H100 with jax 0.11.2 then gave other values than the first call's in up to every
second one (tests/test_sphere.py has it)."""


def prepare() -> None:
    """Adds to $XLA_FLAGS those of FLAGS that are not set there, where JAX has a plugin for an accelerator; nothing
    where the variable names a file of flags. `import jaxae` calls it: XLA reads the variable once, at the first use of
    a device."""
    said = os.environ.get("XLA_FLAGS", "").strip()
    if find_spec("jax_plugins") is None or (said and not said.startswith("-")):
        return
    named = {word.lstrip("-").split("=")[0] for word in said.split()}
    new = [f"--{name}={value}" for name, value in FLAGS.items() if name not in named]
    os.environ["XLA_FLAGS"] = " ".join(filter(None, [said, *new]))
