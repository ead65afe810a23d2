"""A world with a known need for rank, and a training loop that uses the adapters alone.

Test group 11 of the method: does an allocation of ranks find what was planted, and does it refrain
from winning where nothing is there to be found? `world.py` plants, `loop.py` trains, `arms.py` says
what each arm does, `paired.py` compares. Uses `hydra_mobile.adapters`, not our trainer.
"""
