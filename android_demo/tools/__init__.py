"""The Android app's toolchain in Python, and the test vectors of its core."""
