"""The two training stages: rows, batches, vision cache, loop, checkpoints.

Called by `hydra-mobile train` and the quickstart. Knows models, data and adapters; knows no export
and no benchmark.
"""
