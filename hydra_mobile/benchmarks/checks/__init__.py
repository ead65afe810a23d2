"""Are a benchmark's files whole: checked and told before hours are spent."""
