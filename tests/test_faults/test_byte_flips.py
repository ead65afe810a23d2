"""One flipped bit in each file of each kind that we write: noticed, harmless or made anew.

A flip is silent when the next use ends well and gives another result. None may be, and none may end
in an exception that is not ours.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import flip_bit
from parity_chain import Chain
from PIL import Image

from hydra_export.merge import merge
from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.config import load_config
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import cache_home
from hydra_mobile.data.answer_line import AnswerLine
from hydra_mobile.data.llava import read_llava
from hydra_mobile.evaluation.store.kept_logits import read_logits, write_logits
from hydra_mobile.evaluation.store.prediction_log import PredictionLog
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.registry import fetch
from hydra_mobile.parity.reference import golden_outputs
from hydra_mobile.reporting.results import Environment
from hydra_mobile.reporting.write import new_report, read_report, write_report
from hydra_mobile.runtimes.model_ref import base_of
from hydra_mobile.training.checkpoint import Checkpoint
from hydra_mobile.training.data.token_cache import open_rows
from hydra_mobile.training.features import VisionFeatures
from hydra_mobile.training.random_state import RandomState
from hydra_mobile.training.run_folder import RunFolder


@dataclass(frozen=True)
class Kind:
    """An artifact and its next use.

    Attributes:
        folder: a copy that may be spoiled.
        use: reads it as a user's command does, and returns what it read, comparable by `==`.
        files: those to spoil; default: all in the folder that our code reads.
    """

    folder: Path
    use: Callable[[], Any]
    files: tuple[Path, ...] = ()


def adapter(chain: Chain, base: Path, folder: Path) -> Kind:
    copy = Path(shutil.copytree(chain.adapter, folder / "adapter"))

    def use() -> Any:
        merge(base, copy, folder / "out")
        return weights_of(folder / "out")

    return Kind(copy, use)


def merged(chain: Chain, base: Path, folder: Path) -> Kind:
    copy = Path(shutil.copytree(chain.merged, folder / "merged"))
    return Kind(copy, lambda: weights_of(copy))


def weights_of(folder: Path) -> Any:
    state = {name: tensor.tolist() for name, tensor in load_model(folder).state_dict().items()}
    return state, MobileVLMProcessor.from_pretrained(folder).to_dict()


def named_base(chain: Chain, base: Path, folder: Path) -> Kind:
    return Kind(base, lambda: weights_of(fetch("tiny", lambda line: None)))


def bundle(chain: Chain, base: Path, folder: Path) -> Kind:
    copy = Path(shutil.copytree(chain.bundle, folder / "bundle"))

    def use() -> Any:
        opened = Bundle.open(copy)
        golden = [(c.question, c.ids, c.logits.tolist()) for c in golden_outputs(opened)]
        files = {n: (copy / n).read_bytes() for n in opened.manifest["files"]}
        return opened.processor().to_dict(), opened.limits, opened.shapes, golden, files

    return Kind(copy, use)


def checkpoint(chain: Chain, base: Path, folder: Path) -> Kind:
    copy = folder / "checkpoint"
    values = torch.arange(600.0)
    states = [RandomState(torch.get_rng_state(), torch.zeros(0, dtype=torch.uint8))]
    Checkpoint(
        "stage2", 4, {"a": values}, {"b": -values}, {}, {"seconds": 1.5}, states
    ).write(copy)  # fmt: skip

    def use() -> Any:
        read = Checkpoint.read(copy)
        tensors = [
            {n: t.tolist() for n, t in part.items()} for part in (read.trained, read.moments)
        ]
        cpu = [state.cpu.tolist() for state in read.random_states]
        return read.stage, read.step, tensors, dict(read.facts), cpu

    return Kind(copy, use)


def rows(chain: Chain, base: Path, folder: Path) -> Kind:
    data = folder / "data.json"
    turns = [
        {"from": "human", "value": "What is it?"},
        {"from": "gpt", "value": "A red circle on white."},
    ]
    data.write_text(json.dumps([{"id": str(i), "conversations": turns} for i in range(40)]))
    processor = MobileVLMProcessor.from_pretrained(base)
    packing: dict[str, Any] = {"share_prefix": True, "questions_per_row": 4, "max_length": 256}

    def use() -> Any:
        return [repr(row) for row in open_rows(data, None, processor, **packing)]

    assert len(list(read_llava(data))) == len(use()) or use()
    (store,) = [f for f in (cache_home() / "rows").iterdir() if f.name.startswith("data-")]
    return Kind(store, use)


def features(chain: Chain, base: Path, folder: Path) -> Kind:
    pictures = []
    for number in range(3):
        pictures.append(folder / f"{number}.png")
        Image.new("RGB", (20 + number, 20), (80 * number, 40, 200)).save(pictures[-1])
    model, recipe = load_model(base), MobileVLMProcessor.from_pretrained(base).image

    def use() -> Any:
        found = VisionFeatures(model, recipe)
        found.prepare(pictures, lambda done, total: None)
        return found.batch([(picture,) for picture in pictures]).tolist()

    cache = cache_home() / "features"
    before = set(cache.iterdir()) if cache.is_dir() else set()
    use()
    return Kind(cache, use, tuple(sorted(set(cache.iterdir()) - before)))


def run_record(chain: Chain, base: Path, folder: Path) -> Kind:
    data = folder / "data.json"
    data.write_text("[]")
    run = folder / "run"
    settings = [f"output={run}", f"data.stage2={data}", "base=tiny"]
    RunFolder(load_config(None, settings), 1, "a" * 64).open(resume=False)
    (run / "checkpoints" / "2-stage2-0000002").mkdir(parents=True)
    (run / "checkpoints" / "2-stage2-0000002" / "state.json").write_text("{}")

    def use() -> Any:
        # It takes no other settings than those of the start.
        RunFolder(load_config(run / "config.yaml", ["runtime.threads=1"]), 1, "a" * 64).open(True)
        return base_of(run)

    return Kind(run, use, (run / "run.json", run / "config.yaml"))


def answers(chain: Chain, base: Path, folder: Path) -> Kind:
    log = PredictionLog(folder)
    appender = log.append(0)
    for index in range(20):
        appender.add(AnswerLine(f"q{index}", (5, 6, index), 0.5, text=f"red {index}", index=index))
    appender.close()
    log.gather()
    sound = {line.key: line for line in log.read()}

    def use() -> Any:
        found = {line.key: line for line in log.read()}
        # What is left out is answered again.
        return {**sound, **found}

    return Kind(log.file, use)


def logits(chain: Chain, base: Path, folder: Path) -> Kind:
    file = folder / "7.npy"
    write_logits(file, torch.linspace(-3, 3, 320).numpy())
    return Kind(file, lambda: read_logits(file).tolist())


def rank_history(chain: Chain, base: Path, folder: Path) -> Kind:
    history = RankHistory(folder / "ranks.jsonl")
    for step in range(6):
        event = {"step": step, "event": "abstain", "policy": "hydra", "reason": "nothing to gain"}
        history.append({**event, "parameters": 100 + step, "prediction": {"gain": 0.25}})

    def use() -> Any:
        return [event.to_json() for event in history.read()]

    return Kind(history.path, use)


def report(chain: Chain, base: Path, folder: Path) -> Kind:
    from hydra_mobile.reporting.environment import collect

    environment: Environment = collect()
    write_report(new_report("a report", environment), folder)
    return Kind(folder / "report.json", lambda: read_report(folder).to_dict())


KINDS = {
    kind.__name__: kind
    for kind in (
        *(adapter, merged, named_base, bundle, checkpoint),
        *(rows, features, run_record, answers, logits, rank_history, report),
    )
}  # fmt: skip
#: Flips of a file: everyday, and for the table.
EVERYDAY, TABLE = 2, 20


def files_of(kind: Kind) -> list[Path]:
    """Return the files of a kind that our code reads."""
    if kind.files:
        return list(kind.files)
    if kind.folder.is_file():
        return [kind.folder]
    return sorted(
        path
        for path in kind.folder.rglob("*")
        if path.is_file() and path.name != "README.md" and not path.name.startswith(".")
    )


def outcome(kind: Kind, expected: Any) -> str:
    try:
        found = kind.use()
    except HydraError:
        return "noticed"
    except Exception as error:
        return f"traceback ({type(error).__name__})"
    return "harmless" if found == expected else "silent"


def flips(kind: Kind, each: int) -> Counter[str]:
    """Flip bits of every file, one at a time, and count what became of them."""
    chance = random.Random(1)
    expected = kind.use()
    counts: Counter[str] = Counter()
    for file in files_of(kind):
        whole = file.read_bytes()
        for _ in range(each if whole else 0):
            share, bit = chance.random(), chance.randrange(8)
            flip_bit(file, share, bit)
            counts[outcome(kind, expected)] += 1
            file.write_bytes(whole)
    return counts


@pytest.fixture(params=KINDS)
def kind(
    request: pytest.FixtureRequest, sound_chain: Chain, tiny_base: Path, tmp_path: Path
) -> Kind:
    return KINDS[request.param](sound_chain, tiny_base, tmp_path)


def require_sound(counts: Counter[str]) -> None:
    # Caches and answers are made anew: harmless.
    assert counts.total(), counts
    assert set(counts) <= {"noticed", "harmless"}, counts


def test_no_flip_is_silent(kind: Kind) -> None:
    require_sound(flips(kind, EVERYDAY))


@pytest.mark.slow  # minutes: twenty flips of every file of every kind
def test_the_table(kind: Kind, request: pytest.FixtureRequest) -> None:
    counts = flips(kind, TABLE)
    print(f"\n| {request.node.callspec.params['kind']} | {counts.total()} | {dict(counts)} |")
    require_sound(counts)
