"""ExecuTorch programs. Knows executorch and torchao; knows no manifest."""
