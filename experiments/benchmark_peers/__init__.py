"""The programs that `experiments.benchmark` times, each the whole of one process: see `protocol`."""
