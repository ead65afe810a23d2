"""A test device: the app's code and the Android libraries of its runtime, in a desktop's JVM.

`libraries` makes the Android x86_64 build of ONNX Runtime loadable on Linux, without changing a
byte of it; `benchmark` runs the app's benchmark mode on it. This proves what the app computes:
Java API, JNI glue, kernels, and all of our own code. It proves nothing about Android's loader, its
memory limits or its speed, so timings from here are never a phone's.
"""
