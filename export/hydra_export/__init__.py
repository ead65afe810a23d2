"""From a trained run to programs on a phone: merge, export, bundle, verify.

Knows the model classes of `hydra_mobile.models` and the adapters; knows no benchmark and no
training. Called by the command line and, for bundles only, by `hydra_mobile.evaluation`.
"""
