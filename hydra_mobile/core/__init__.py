"""What every package may use: errors, files, registries, processes. Knows no package of ours."""
