"""Made data sets, small enough to build on a laptop."""
