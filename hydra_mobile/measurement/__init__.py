"""`hydra-mobile bench`: speed, memory and size of a model, measured the same way anywhere."""
