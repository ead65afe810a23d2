"""The parity suite: forms of one model compared part by part.

Knows runtimes and bundles; knows no export.
"""
