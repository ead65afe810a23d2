"""TextVQA: short answers that stand in the picture."""
