"""The exported folder: what lies in it, read and checked."""
