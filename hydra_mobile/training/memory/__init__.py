"""The peak memory of a step, before it is taken and when it was too much."""
