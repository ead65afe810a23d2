"""Other projects' checkpoints: reading them into a base folder, and writing one back.

MobileVLM's and LLaVA's own layout, transformers' `LlavaForConditionalGeneration`, a Llama folder
with a CLIP or SigLIP folder, and what llama.cpp converts. Everything streams one tensor at a time.
"""
