"""What a training run will need, before it is started and on any machine.

Parameters, memory per GPU, steps, hours, and the settings that fit a GPU. Nothing large is read or
allocated, and no GPU is touched.
"""
