"""Scores checkpoints: the numbers that their protocols name, and pages of images."""
