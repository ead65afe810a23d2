"""Tests of the app on Android's own framework code, in this machine's JVM."""
