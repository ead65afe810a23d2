"""The dynamic stage: ranks that move during training, when a model of their effect is trusted.

A reconstruction: the paper says only that a lightweight performance model adjusts ranks during
fine-tuning. The paper's inputs, target, size and cadence are not public; those here are ours.
`cells.py` sums a rank map up in at most 21 numbers, `moves.py` lists the parameter-neutral
changes of it, `fit.py` learns which of them lower the held-out loss, `gate.py` judges whether that
may be acted upon. Importing this package imports nothing heavy.
"""
