"""The commands that README and docs show, and what is needed to run them."""
