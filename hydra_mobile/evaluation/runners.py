"""The old place of `runner_class`, for the Python lines in cards of bundles written before 0.2."""

from hydra_mobile.runtimes import runtime_class as runner_class

__all__ = ["runner_class"]
