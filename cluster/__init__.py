"""Bringing up a Ray cluster and sending training jobs to it; knows Ray and none of the other packages."""
