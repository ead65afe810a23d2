"""MobileVLM as a transformers model, and the named bases that it is built from."""
