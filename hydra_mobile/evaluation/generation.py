"""The old place of `Generator`, for the Python lines in cards of bundles written before 0.2."""

from hydra_mobile.runtimes.generation import Generator

__all__ = ["Generator"]
