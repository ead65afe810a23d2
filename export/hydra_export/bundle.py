"""The old place of `Bundle`, for the Python lines in cards of bundles written before 0.2."""

from hydra_mobile.bundle.bundle import Bundle

__all__ = ["Bundle"]
