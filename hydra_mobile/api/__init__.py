"""What `import hydra_mobile as hm` offers: each step of the pipeline as one function.

The functions take paths, names or what an earlier step returned, print nothing but through `log`,
raise `HydraError` for what the user can fix, and leave the calling program's warnings, threads and
signal handlers alone.
"""
