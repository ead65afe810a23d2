"""Answers to rows of a report, with comparisons and intervals."""
