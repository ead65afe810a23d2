"""CoreML programs: by CoreML itself on a Mac, interpreted elsewhere."""
