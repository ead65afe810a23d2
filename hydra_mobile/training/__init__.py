"""The two training stages: rows, batches, vision cache, loop, checkpoints."""
