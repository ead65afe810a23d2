"""Questions and answers on the disk: resumed, sharded, merged."""
