"""`hydra-mobile bench`: how fast an artefact is, and what it takes, measured the same way anywhere.

Called by the command line; stands on the runners and on the devices.
"""
