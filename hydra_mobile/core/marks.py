"""By what folders of ours are recognized where a user names one for a result.

Names such as manifest.json and report.json are common: what stands in the file has to be ours too.
Of a file that was cut short nothing can be read; the folder is then ours if it holds what else such
a folder has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from hydra_mobile.core.folders import Mark, recorded
from hydra_mobile.core.model_folder import IMPORT_FILE, MERGED

#: Marks a checkpoint in another project's layout that `convert` wrote.
CONVERTED_FILE = "hydra-mobile.json"
# Answers of one model: what names its runtime and preset, and the beginning of its hash.
_ANSWERS = re.compile(r".+-[0-9a-f]{12}(-[a-z]+)?")


def _says(file: str, *keys: str, beside: tuple[str, ...]) -> Callable[[Path], bool]:
    """Return whether a folder's `file` is a JSON object with `keys`.

    Args:
        file: its name.
        keys: that it must have.
        beside: files that must be there where it is no JSON.
    """

    def matches(folder: Path) -> bool:
        try:
            value = json.loads((folder / file).read_bytes())
        except (OSError, ValueError, RecursionError):
            return all((folder / name).is_file() for name in beside)
        return isinstance(value, dict) and all(key in value for key in keys)

    return matches


def _has_answers(folder: Path) -> bool:
    answers = folder / "answers"
    names = [each.name for each in answers.iterdir()] if answers.is_dir() else []
    if not names:
        # A start that was killed before the first model's folder leaves it empty, and nothing else.
        return {each.name for each in folder.iterdir() if each.name[0] != "."} == {"answers"}
    return all(_ANSWERS.fullmatch(name) for name in names if name[0] != ".")


def _has_quickstart(folder: Path) -> bool:
    parts = ("emojiqa/emojiqa.json", "run/run.json", "train.yaml", "logs/quickstart.log")
    return any((folder / part).is_file() for part in parts)


def _has_run(folder: Path) -> bool:
    # A start that failed leaves its settings, or no more than its log.
    left = {each.name for each in folder.iterdir() if not each.name.startswith(".")}
    return left <= {"logs"}


def only_files(pattern: str, kind: str) -> Mark:
    """Return the mark of a folder that holds files of one form and no others.

    Args:
        pattern: of their paths in the folder.
        kind: what such a folder is, for the message.
    """
    form = re.compile(pattern)

    def holds_no_other(folder: Path) -> bool:
        return all(form.fullmatch(each) for each in _files(folder))

    return Mark("", kind, begun=holds_no_other)


def _files(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if not path.is_dir():
            yield path.relative_to(folder).as_posix()


BUNDLE = Mark(
    "manifest.json",
    "a bundle",
    _says(
        "manifest.json",
        *("target", "runtime", "preset"),
        beside=("tokenizer.json", "golden.json"),
    ),
    # The C++ runner notes what it has hashed.
    contents=recorded("manifest.json", "tokenizer.json", "README.md", "adapters", ".sha256.json"),
)
ADAPTER = Mark(
    "hydra.json",
    "an adapter",
    _says("hydra.json", "base", "files", beside=("adapter_model.safetensors",)),
    contents=recorded("hydra.json", "adapter_config.json", "README.md"),
)
IMPORTED = Mark(
    IMPORT_FILE,
    "an imported base",
    _says(IMPORT_FILE, "name", "tensors", beside=("processor_config.json",)),
)
CONVERTED = Mark(CONVERTED_FILE, "a converted checkpoint")
EMOJIQA = Mark("emojiqa.json", "an EmojiQA data set")
REPORT = Mark(
    "report.json",
    "a report",
    _says("report.json", "schema", "systems", beside=("report.md", "report.html")),
    begun=_has_answers,
)
RUN = Mark("run.json", "a run", _says("run.json", "config", beside=("config.yaml",)), _has_run)
QUICKSTART = Mark("", "the folder of a quickstart", begun=_has_quickstart)
#: kind -> mark, by the name that a message uses.
MARKS = {
    "bundle": BUNDLE,
    "merged model": MERGED,
    "base": IMPORTED,
    "converted checkpoint": CONVERTED,
    "EmojiQA data set": EMOJIQA,
    "report": REPORT,
    "run": RUN,
    "quickstart": QUICKSTART,
    "native libraries": only_files(r"(arm64-v8a|x86_64)/lib[^/]+\.so", "native libraries"),
    "pictures of the app": only_files(r"[a-z]+/[a-z-]+\.png", "pictures of the app"),
}
