"""EmojiQA: pictures and questions out of pinned artwork, for the quickstart and the tests."""
