"""What every value of `ranks.policy` promises, in whole training runs on base `tiny`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.lora_layers import lora_tensors
from hydra_mobile.adapters.save_load import read_adapter
from hydra_mobile.config import load_config
from hydra_mobile.core.files import sha256_of
from hydra_mobile.models.loading import load_model
from hydra_mobile.training import run as run_module
from hydra_mobile.training.run import TrainingRun
from hydra_mobile.training.strategies import STRATEGIES

MORE = [
    "data.stage1=",
    "stage2.steps=10",
    "ranks.dropout=0.1",
    "ranks.dynamic.target=paired_probe",
    "ranks.dynamic.warmup=0.3",
    "ranks.dynamic.every=0.2",
    "ranks.dynamic.probe_steps=2",
    "ranks.dynamic.candidates=1",
    "ranks.dynamic.probe_share=10",
    "ranks.dynamic.holdout_batches=2",
]
#: The first policy of each strategy runs every day; the others differ in the ranks alone, which
#: test_rank_policies.py holds to their promises.
EVERYDAY = {place: policy for policy, place in reversed(STRATEGIES.items())}.values()


def train(settings: list[str], *more: str, resume: bool = False) -> Path:
    return TrainingRun(load_config(None, [*settings, *MORE, *more])).train(resume)


def hashes(folder: Path) -> dict[str, str]:
    return {file.name: sha256_of(file) for file in folder.iterdir() if file.name != "merge.json"}


@pytest.fixture(scope="module")
def settings_of(
    run_settings: Callable[[Path], list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path, str], list[str]]:
    """Overrides for a run of a policy, with everything that it may ask for."""
    source = tmp_path_factory.mktemp("recorded") / "run"
    recorded: list[Path] = []

    def settings(output: Path, policy: str) -> list[str]:
        if policy in ("fixed", "replay") and not recorded:
            train(run_settings(source), "ranks.policy=coarse_fine_per_cost")
            recorded.append(source / "ranks.jsonl")
        more = [f"ranks.map_file={recorded[0]}"] if recorded else []
        return [*run_settings(output), f"ranks.policy={policy}", *more]

    return settings


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(policy, marks=[] if policy in EVERYDAY else [pytest.mark.slow])
        for policy in STRATEGIES
    ],
)
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def whole(
    policy: str,
    settings_of: Callable[[Path, str], list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    return train(settings_of(tmp_path_factory.mktemp(policy) / "run", policy))


def test_it_is_within_the_budget_at_every_event(whole: Path) -> None:
    parameters = json.loads((whole.parent / "summary.json").read_text())["parameters"]
    if "lora" not in parameters:
        assert whole.name == "merged", "only a run without an adapter has no budget"
        return
    assert 0 < parameters["lora"] <= parameters["budget"]
    events = RankHistory.of_run(whole.parent).read()
    assert events[0].event == "initial"
    for event in events:
        assert event.parameters is not None
        assert event.parameters <= parameters["budget"]


def test_killed_in_the_middle_and_resumed_it_is_bit_identical(
    policy: str,
    whole: Path,
    settings_of: Callable[[Path, str], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = run_module.train_step
    settings = settings_of(tmp_path / "run", policy)

    def stop_at_seven(*given: Any) -> Any:
        if given[5] == 7:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(run_module, "train_step", stop_at_seven)
        with pytest.raises(KeyboardInterrupt):
            train(settings)
    assert hashes(train(settings, resume=True)) == hashes(whole)
    histories = [RankHistory.of_run(run).read() for run in (whole.parent, tmp_path / "run")]
    events = [[(e.step, e.event, e.digest) for e in history] for history in histories]
    assert events[0] == events[1]


def test_stock_libraries_load_the_result(whole: Path, tiny_base: Path) -> None:
    if whole.name == "merged":
        assert load_model(whole).language_model.config.vocab_size > 0
        return
    loaded = PeftModel.from_pretrained(load_model(tiny_base), whole)
    ranks = {name: len(a) for name, (a, _) in lora_tensors(loaded.base_model.model).items()}
    assert ranks == dict(read_adapter(whole).rank_map)
    assert all(torch.isfinite(a).all() for a, _ in lora_tensors(loaded.base_model.model).values())
