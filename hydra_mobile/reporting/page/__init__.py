"""The report as one HTML page: a module for each section, in the order of a reader's questions."""
