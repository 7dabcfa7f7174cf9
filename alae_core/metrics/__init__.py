"""Metrics of generated images and of codes, and the features in which they are computed."""
