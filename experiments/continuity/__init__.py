"""The parts of `experiments.latent_continuity`: models, measures, classifier, statistics, figures, page."""
