"""What several benchmarks need: where files are, tables, letters, intervals."""
