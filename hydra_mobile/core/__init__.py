"""What every package may use: errors, files, registries, processes."""
