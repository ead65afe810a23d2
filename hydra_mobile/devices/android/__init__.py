"""Native code for Android without Google's NDK: a pinned compiler, a pinned ExecuTorch."""
