"""Data: pinned downloads, LLaVA records, conversation templates, EmojiQA.

Nothing is imported here, so that a command pays only for what it uses.
"""
