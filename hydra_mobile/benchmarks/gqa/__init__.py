"""GQA: one-word answers about scenes."""
