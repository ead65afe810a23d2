"""POPE: yes or no, is the object in the picture."""
