"""Instructions of arm64 programs under emulation: the counter, llama.cpp's loop, and the tables."""
