"""`python -m hydra_mobile` is the command line."""

from hydra_mobile.cli.main import main

main()
