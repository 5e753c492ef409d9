"""One runnable file each: a preset and a call. `python -m experiments.NAME` from the repository's root."""
