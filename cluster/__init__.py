"""Tools that start a Ray cluster and submit training jobs to it; they import Ray but no other package of this project."""
