"""Commands as they are written, with a tiny base and a training of seconds in place of theirs."""

from __future__ import annotations

from collections.abc import Sequence

#: Bases whose weights are downloads, and a placeholder for any.
_TINY = {
    **{name: "tiny" for name in ("smol", "mobilellama-1.4b-ldp", "BASE")},
    "base=smolvlm-smol": "base=FOLDER",
}


def shortened(words: Sequence[str], settings: Sequence[str]) -> list[str]:
    """Return a command's words, shortened.

    Args:
        words: as they are written, after `hydra-mobile`.
        settings: of a training of seconds. Those that the command gives itself stay its own, but
            for the number of steps.
    """
    words = [_TINY.get(word, word) for word in words]
    if words[:2] == ["cache", "clear"]:
        return [*words, "--yes"]  # nobody is there to be asked
    if words[0] == "estimate" and "emojiqa-smol" in words:
        return [*words, "base=tiny"]
    if words[0] != "train" or "--resume" in words:
        return words
    given = {word.split("=")[0] for word in words if "=" in word}
    given -= {"stage2.steps"}
    kept = [setting for setting in settings if setting.split("=")[0] not in {*given, "output"}]
    if "mobilevlm-1.7b" in words:
        # What comes of it is to be written in MobileVLM's layout.
        kept = ["base=imported", *(setting for setting in kept if setting != "base=tiny")]
    if "base=FOLDER" in words or "data.stage1=" in words:
        kept = [setting for setting in kept if not setting.startswith("stage1.")]
    # A configuration names its own data, and the world has it there.
    return [*words, *(setting for setting in kept if not setting.startswith("data."))]
