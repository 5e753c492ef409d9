"""What a trained model is measured by: groups of measures, a file or two each.

`run.evaluate_runs(runs, names)` measures; the names are those of `jaxae evaluate --help`. Where each number is made a
docstring says what it means and whence it is: `likelihood`, `decomposition`, `annealed` (ais; with `chains` and
`hamiltonian`), `latents` (latents, probes, codebook; with `units`), `disentanglement` (with `factors`, `prediction` and
`interventions`), `judge` (samples; by the scores of `samples`, in a space of `features`), `own` (the user's). `metrics`
has them all by name, `bench` compiles them, and `measures` tells what each number is called and compares with.
"""
