"""ScienceQA: multiple choice out of school books."""
