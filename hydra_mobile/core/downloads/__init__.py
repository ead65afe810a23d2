"""Files out of packages of public registries, pinned by hash."""
