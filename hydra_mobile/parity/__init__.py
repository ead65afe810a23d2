"""The parity suite: forms of one model compared part by part."""
