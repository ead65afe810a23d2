"""Where bundles run outside of this process: the native runner here, and on an emulated arm64."""
