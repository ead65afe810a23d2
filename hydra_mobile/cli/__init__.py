"""The command line: one verb per file. Heavy imports live inside the verbs, so help is instant."""
