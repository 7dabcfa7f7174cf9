"""Evaluation of checkpoints: metrics by name, and pages of images."""
