"""What a trained model is measured by: groups of measures, a file or two each.

`run.evaluate_runs(runs, names)` measures; the names are those of `jaxae evaluate --help`. Where each number is made a
docstring says what it means and whence it is: `likelihood`, `decomposition`, `annealed` (ais), `latents` (latents,
probes, codebook), `disentanglement` (with `prediction` and `interventions`), `samples` (in a space of `features`).
"""
