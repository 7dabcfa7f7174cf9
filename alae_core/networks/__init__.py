"""Networks of all algorithms, without losses or training."""
