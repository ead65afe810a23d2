"""Questions and answers on the disk: resumed, sharded, merged. Knows no runtime and no score."""
