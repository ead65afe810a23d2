"""The processes that answer questions."""
