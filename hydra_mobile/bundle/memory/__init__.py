"""How much memory running a bundle takes, and which phones have it."""
