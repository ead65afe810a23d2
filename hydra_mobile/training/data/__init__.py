"""Conversations to token rows, on disk and in memory."""
