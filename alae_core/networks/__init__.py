"""Networks of the family, free of losses and of training."""
