"""Hyperparameter searches over Experiments with Ray Tune. Imports pipelines, never alae_core."""
