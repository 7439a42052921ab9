"""Stage compare: credits, and those of other methods and baselines, held against retraining."""
