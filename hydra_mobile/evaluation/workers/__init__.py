"""The processes that answer questions. Know runtimes; know no score."""
