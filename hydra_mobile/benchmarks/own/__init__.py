"""A test set of one's own: a file of questions, or a class of one's own."""
