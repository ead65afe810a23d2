"""Every verb that writes, killed at its changes to the disk: nothing is lost, nothing left over.

A kill leaves at the place of a result what was there before or the whole new result. The same
command then ends as it would have, and sweeps what the killed one left.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from benchmark_tree import emojiqa as write_emojiqa
from data_forms import draw, write_parquet
from killed import TEMPORARY, Commands, Ended
from original_checkpoints import write_clip, write_llama, write_original
from parity_chain import Chain
from PIL import Image

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.temporary import is_temporary
from hydra_mobile.reporting.write import read_report

#: Kills of each verb, spread over its changes to the disk, the first and the last among them.
KILLS = 6

pytestmark = pytest.mark.slow  # minutes: some hundred commands

Tree = dict[str, str]


@dataclass(frozen=True)
class Verb:
    """A command line, and what it makes.

    Attributes:
        arguments: words of the command, relative to the workspace.
        out: folder of the result.
        again: words after a kill, where these are others.
        resumes: file whose presence means that `again` is to be used.
        needs: words of commands that are run once, and what each makes for this one.
    """

    arguments: Sequence[str]
    out: str
    again: Sequence[str] = ()
    resumes: str = ""
    needs: Sequence[tuple[Sequence[str], str]] = ()


TRAIN = (
    *("base=tiny", "output=run", "data.stage2=shapes/questions.json", "stage2.steps=4"),
    *("stage2.batch_size=4", "ranks.policy=uniform", "ranks.r_ref=4", "ranks.rank_step=2"),
    *("ranks.r_min=2", "ranks.alpha_ref=8", "runtime.precision=fp32", "runtime.threads=1"),
    *("runtime.checkpoint_every=2", "runtime.log_every=1"),
)
SMALL = ("--max-context", "64", "--max-prefill", "16")
EVALUATE = (
    *("evaluate", "tiny", "--benchmarks", "emojiqa", "--data", "emojiqa", "--limit", "4"),
    *("--workers", "1", "--threads", "1", "--out"),
)
RUN = (("train", *TRAIN), "run")
SEPARATE = (
    *("export", "adapter", "--adapter", "separate", "--target", "onnx"),
    *("--preset", "fp32", *SMALL, "--out", "out"),
)
VERBS = {
    "fetch": Verb(("fetch", "tiny"), "home/bases/tiny"),
    "merge": Verb(("merge", "adapter", "--base", "tiny", "--out", "out"), "out"),
    "export": Verb(
        ("export", "merged", "--target", "onnx", "--preset", "fp32", *SMALL, "--out", "out"), "out"
    ),
    "import": Verb(("import", "original", "--out", "out"), "out"),
    "compose": Verb(
        ("compose", "--language", "llama", "--vision", "clip", "--projector", "ldpnetv2", "--out",
         "out"), "out",
    ),
    "convert": Verb(("convert", "original", "--layout", "mobilevlm", "--out", "out"), "out"),
    "data emojiqa": Verb(
        ("data", "emojiqa", "--names", "24", "--test-questions", "48", "--out", "out"), "out"
    ),
    "train": Verb(
        ("train", *TRAIN), "run/adapter", ("train", "--resume", *TRAIN), "run/checkpoints"
    ),
    "evaluate": Verb((*EVALUATE, "out"), "out"),
    "report": Verb(
        ("report", "results", "--out", "out"), "out", needs=[((*EVALUATE, "results"), "results")]
    ),
    "bundle add": Verb(
        ("bundle", "add", "out", "adapter", "--name", "second"), "out", needs=[(SEPARATE, "out")]
    ),
    "benchmarks table": Verb(
        ("benchmarks", "table", "emojiqa", "--data", "emojiqa", "--out", "table.tsv"), "table.tsv"
    ),
    "data convert": Verb(
        ("data", "convert", "shapes/questions.json", "--out", "records.jsonl"), "records.jsonl"
    ),
    "ranks replay": Verb(
        ("ranks", "replay", "run", "--out", "out"), "out/adapter", ("train", "--resume", "out"),
        "out/checkpoints", [RUN],
    ),
    "data convert with images": Verb(
        ("data", "convert", "inside.parquet", "--out", "records.json"), "records.json"
    ),
    "ranks plot": Verb(("ranks", "plot", "run", "--out", "a.svg"), "a.svg", needs=[RUN]),
    "runs plot": Verb(("runs", "plot", "run", "--out", "a.svg"), "a.svg", needs=[RUN]),
    "config copy": Verb(
        ("config", "copy", "emojiqa-smol", "a.yaml"), "a.yaml",
        ("config", "copy", "emojiqa-smol", "a.yaml", "--force"), "a.yaml",
    ),
    "verify": Verb(
        ("verify", "bundle", "--report", "out"), "out",
        needs=[(("export", "merged", "--target", "onnx", "--preset", "fp32", *SMALL, "--out",
                 "bundle"), "bundle")],
    ),
    "evaluate --from-shards": Verb(
        ("evaluate", "one", "two", "--from-shards", "--out", "out"), "out",
        needs=[((*EVALUATE, "one", "--shard", "1/2"), "one"),
               ((*EVALUATE, "two", "--shard", "2/2"), "two")],
    ),
}  # fmt: skip
#: Over an older result of the same kind.
OVER = ("merge", "export", "import", "compose", "convert", "report")
#: Over a file that the same command wrote.
OVER_FILES = ("data convert", "runs plot", "benchmarks table")
#: What two undisturbed runs may have otherwise: logs, the memory of hashes, of files that were
#: written and of seconds, and torch's own cache.
BESIDE = re.compile(
    r"(^|/)logs(/|$)|^home/(hashes|written)|^home/measured\.json|\.log$|^said$|^changes$"
    rf"|^{TEMPORARY}/torchinductor"
)


class Place:
    """A workspace that is laid anew for each attempt, and commands in it."""

    def __init__(self, template: Path, folder: Path) -> None:
        self._template, self.folder = template, folder
        self.lay()
        self.commands = Commands(folder, folder / "home")

    def lay(self) -> None:
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self._template, self.folder, dirs_exist_ok=True)

    def tree(self, below: str = "") -> Tree:
        """Return a hash of every file by its path, "" for folders."""
        found = sorted((self.folder / below).rglob("*"))
        names = {str(path.relative_to(self.folder)): path for path in found}
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            for name, path in names.items()
            if not BESIDE.search(name)
        }

    def run(self, words: Sequence[str], kill_at: int = 0, number: int = signal.SIGKILL) -> Ended:
        return self.commands.run(words, kill_at, number)


@pytest.fixture(scope="module")
def template(
    tmp_path_factory: pytest.TempPathFactory, sound_chain: Chain, tiny_base: Path,
    shapes_data: Path, real_home: str | None,
) -> Path:  # fmt: skip
    """What the verbs start from."""
    folder = tmp_path_factory.mktemp("template")
    (folder / TEMPORARY).mkdir()
    shutil.copytree(sound_chain.adapter, folder / "adapter")
    shutil.copytree(sound_chain.merged, folder / "merged")
    shutil.copytree(shapes_data, folder / "shapes")
    write_original(folder / "original", "ldpnetv2")
    write_llama(folder / "llama")
    write_clip(folder / "clip")
    pictures = [Image.new("RGB", (30, 30), color) for color in ("red", "green", "blue")]
    write_emojiqa(folder / "emojiqa", pictures)
    (folder / "shown").mkdir()
    draw(folder / "shown")
    write_parquet(folder / "inside.parquet", folder / "shown")
    home = folder / "home"
    shutil.copytree(tiny_base.parent, home / "bases")
    wheels = Path(real_home or "") / "wheels"
    if real_home and wheels.is_dir():
        (home / "wheels").mkdir()
        for wheel in wheels.glob("openmoji*"):
            (home / "wheels" / wheel.name).symlink_to(wheel)
    return folder


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Iterator[Place]:
    made = Place(template, tmp_path / "w")
    yield made
    made.commands.close()


def laid(place: Place, name: str, over: bool) -> None:
    """Lay the workspace as a verb finds it."""
    place.lay()
    if name == "fetch":
        shutil.rmtree(place.folder / "home" / "bases")
    made = [(needed_by(place, words, needed), needed) for words, needed in VERBS[name].needs]
    for folder, needed in made:
        shutil.copytree(folder, place.folder / needed)
    if over and name in OVER_FILES:
        # What was written is remembered by its inode: a copy would be another file.
        assert place.run(VERBS[name].arguments).code == 0
    elif over:
        old = place.folder / VERBS[name].out
        shutil.copytree(place.folder.parent / "older", old)


def needed_by(place: Place, words: Sequence[str], folder: str) -> Path:
    """Return what a command makes in the workspace, made once."""
    kept = place.folder.parent / f"made-{folder}"
    if not kept.is_dir():
        ended = place.run(words)
        assert ended.code == 0, ended.said
        shutil.copytree(place.folder / folder, kept)
        place.lay()
    return kept


@pytest.mark.parametrize(
    ("name", "over"),
    [*((name, False) for name in VERBS), *((name, True) for name in (*OVER, *OVER_FILES))],
)
def test_a_kill_loses_nothing_and_leaves_nothing(
    place: Place, name: str, over: bool, request: pytest.FixtureRequest
) -> None:
    verb = VERBS[name]
    if over and name in OVER:
        if name not in ("report", "convert"):
            verb = replace(verb, arguments=(*verb.arguments, "--force"))
        laid(place, name, over=False)
        assert place.run(verb.arguments).code == 0
        shutil.copytree(place.folder / verb.out, place.folder.parent / "older")
        # An older result is told from a new one; what is of nobody goes with it.
        (place.folder.parent / "older" / "Thumbs.db").write_text("of the older one")
    whole = []
    for _ in range(2):
        laid(place, name, over)
        before = place.tree()
        ended = place.run(verb.arguments)
        assert ended.code == 0, ended.said
        whole.append(place.tree())
        # A time in whole seconds differs between the two, as it does between any.
        time.sleep(1.1)
    first, second = whole
    assert set(first) == set(second)
    varies = {path for path in first if first[path] != second[path]}
    assert ended.changes > 3

    counts: Counter[str] = Counter()
    last = ended.changes
    for kill_at in sorted({1 + round(n * (last - 1) / (KILLS - 1)) for n in range(KILLS)}):
        laid(place, name, over)
        killed = place.run(verb.arguments, kill_at)
        if killed.code == 0:  # it made fewer changes this time
            continue
        assert killed.code == -9, killed.said
        counts["kills"] += 1
        left = place.tree()
        if over:
            there = {p: h for p, h in left.items() if is_below(p, verb.out)}
            old = {p: h for p, h in before.items() if is_below(p, verb.out)}
            new = {p: h for p, h in first.items() if is_below(p, verb.out)}
            whole = there == old or equal(there, new, varies)
            if name == "report":
                # Its files change one by one, beside others in the folder; each is whole. What
                # was being written lies beside them, for the next writer to sweep.
                there = {p: h for p, h in there.items() if not is_temporary(Path(p).name)}
                whole = whole_report(place.folder / verb.out) and set(there) == set(old)
                whole = whole and all(there[p] in (old[p], new[p]) or p in varies for p in there)
            counts["lost"] += not whole
        if name == "bundle add":
            # Whatever stage it was killed at, the bundle is one.
            bundle = Bundle.open(place.folder / verb.out)
            assert bundle.adapter == "default"
            if "second" in bundle.manifest["adapters"]:
                # Added before the end: the same command would say that it is there.
                counts["other"] += not equal(
                    {p: h for p, h in left.items() if p in first}, first, varies
                )
                continue
        resumes = bool(verb.resumes) and (place.folder / verb.resumes).exists()
        ended = place.run((verb.again or verb.arguments) if resumes else verb.arguments)
        assert ended.code == 0, (kill_at, ended.said)
        after = place.tree()
        same = equal({p: h for p, h in after.items() if p in first}, first, varies)
        if not same:
            print(f"\n{name}, killed at {kill_at}: {differing(after, first, varies)} are others")
        counts["other"] += not same
        over_names = sorted(set(after) - set(first))
        counts["left over"] += bool(over_names)
        assert not over_names, (kill_at, over_names)
    table = {key: counts[key] for key in ("kills", "lost", "other", "left over")}
    print(f"\n| {name}{' over an older one' if over else ''} | {last} | {json.dumps(table)} |")
    assert table == {"kills": table["kills"], "lost": 0, "other": 0, "left over": 0}
    assert table["kills"] >= min(KILLS, last) // 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", VERBS)
def test_ctrl_c_and_sigterm_say_what_stays_and_leave_nothing(
    place: Place, name: str, number: signal.Signals
) -> None:
    verb = VERBS[name]
    laid(place, name, over=False)
    ended = place.run(verb.arguments)
    assert ended.code == 0, ended.said
    first, last = place.tree(), ended.changes
    for at in sorted({max(1, round(last * share)) for share in (0.1, 0.5, 0.9)}):
        laid(place, name, over=False)
        before = place.tree()
        stopped = place.run(verb.arguments, at, number)
        said = f"{name}, {number.name} at {at} of {last}: {stopped.said}"
        if stopped.code == 0 and at > 0.8 * last:  # it made fewer changes this time
            continue
        assert stopped.code == 128 + number, said
        assert "Traceback" not in stopped.said, said
        assert "To go on:" in stopped.said, said
        assert "Exception ignored" not in stopped.said, said
        left = [p for p in place.tree() if any(is_temporary(part) for part in Path(p).parts)]
        assert left == [p for p in before if is_temporary(Path(p).name)], said
        resumes = bool(verb.resumes) and (place.folder / verb.resumes).exists()
        ended = place.run((verb.again or verb.arguments) if resumes else verb.arguments)
        if name == "bundle add" and "second" in ended.said and ended.code == 2:
            continue  # it was there already
        assert ended.code == 0, f"{said}\nthen: {ended.said}"
        over_names = sorted(set(place.tree()) - set(first))
        assert not over_names, said


def whole_report(folder: Path) -> bool:
    read_report(folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    return page.rstrip().endswith("</html>")


def is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def differing(found: Tree, expected: Tree, varies: set[str]) -> list[str]:
    """Return the files that are missing, or have other contents than they may have."""
    return sorted(
        p for p in expected if p not in found or (p not in varies and found[p] != expected[p])
    )


def equal(found: Tree, expected: Tree, varies: set[str]) -> bool:
    """Whether two trees hold the same, but for files that differ from run to run."""
    return set(found) == set(expected) and all(
        found[path] == expected[path] for path in expected if path not in varies
    )
