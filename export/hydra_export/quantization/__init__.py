"""Fewer bits: which part keeps how many, and codes that keep a layer's output."""
