"""Files out of packages of public registries, pinned by hash. Knows no model and no data set."""
