"""From a trained run to programs on a phone: merge, export, bundle, verify."""
