"""Evaluation: benchmarks and runners, each one file, and the loop and statistics they share.

Nothing is imported here, so that a command pays only for what it uses.
"""
