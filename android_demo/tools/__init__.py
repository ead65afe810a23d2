"""The Android app seen from Python: its tool chain, and the vectors that its core is tested with.

Knows `android_demo/` and `hydra_export`; nothing of training. Called by the command line and tests.
"""
