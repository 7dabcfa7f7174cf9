"""Measures of what a model makes: distances between sets of images, and the features they are taken in."""
