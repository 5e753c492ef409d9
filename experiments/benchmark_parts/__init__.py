"""What `experiments.benchmark` is made of; the programs that it times are in `experiments.benchmark_peers`."""
