"""Does HyDRA help at an equal number of trainable parameters? Tasks, arms, runs, analysis."""
