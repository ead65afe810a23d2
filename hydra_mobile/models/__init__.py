"""MobileVLM as a transformers model, and the named bases that it is built from.

Knows no data set, no adapter and no training; importing this package imports nothing heavy.
"""
