"""Where bundles run outside of this process: the native runner here, and on an emulated arm64.

Knows how to build and start the runner of `native/`; knows no benchmark and no report. Called by
the runners of `hydra_mobile.evaluation` and by the command line.
"""
