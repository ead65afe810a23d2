"""The page that goes with a bundle: what it is and how an app reads it. Text only."""
