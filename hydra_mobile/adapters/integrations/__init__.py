"""The engine of stage II inside other people's training loops."""
