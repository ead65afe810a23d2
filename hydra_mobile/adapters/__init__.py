"""HyDRA ranks for plain peft LoRA: who gets how much rank, at a fixed number of parameters.

An independent reconstruction from the method's abstract; see `coarse.py` and `fine.py` for the
choices. Knows torch and peft; knows nothing of MobileVLM, images or the command line.
Called by the trainer, the merge and the tests. Importing this package imports nothing heavy.
"""
