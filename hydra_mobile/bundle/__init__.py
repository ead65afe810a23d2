"""The exported folder: what lies in it, read and checked. Knows no export and no runtime."""
