"""CoreML packages. Knows coremltools; knows no manifest."""
