"""Steps mean the same however they are split, and epochs train on each record once."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import torch

from hydra_mobile.config import StageConfig, load_config
from hydra_mobile.training.batch_stream import BatchStream
from hydra_mobile.training.run import TrainingRun

ANSWERS = [
    "red",
    "a red circle on white, nothing else is there to be seen in this image at all, nothing",
    *("no", "blue", "yes", "no", "red circle", "a b"),
]


@pytest.fixture
def uneven(shapes_data, tmp_path):
    """Eight records whose answers have 1 to 20 words."""
    records = []
    for i, answer in enumerate(ANSWERS):
        turns = [
            {"from": "human", "value": "<image>\nWhat is it?"},
            {"from": "gpt", "value": answer},
        ]
        image = json.loads((shapes_data / "questions.json").read_text())[i]["image"]
        records.append({"id": str(i), "image": image, "conversations": turns})
    file = tmp_path / "uneven.json"
    file.write_text(json.dumps(records))
    return file, shapes_data


@pytest.fixture
def prepared(uneven, run_settings, tmp_path):
    """A run whose model is ready, with `ranks.policy=uniform` in it."""
    file, images = uneven
    more = [f"data.stage2={file}", f"data.images={images}", "data.share_prefix=false"]
    more += ["data.stage1=", "ranks.policy=uniform", "stage2.warmup=0", "stage2.clip=0"]
    config = load_config(None, [*run_settings(tmp_path / "run"), *more])
    run = TrainingRun(config)
    setup = run.prepare()
    strategy = run.strategy(setup)
    strategy.start()
    # B begins at zero, where A has no gradient.
    with torch.no_grad():
        for name, parameter in strategy.parameters().items():
            if "lora_B" in name:
                parameter.fill_(0.01)
    return run, setup, strategy


def gradients(prepared, reduction, size, accumulation, count):
    """The gradients of the first step, summed over `count` processes as DDP would."""
    run, setup, strategy = prepared
    stage = StageConfig(batch_size=size, accumulation=accumulation, loss_reduction=reduction)
    objective = run.data.objective("stage2")
    trained = strategy.parameters() | setup.projector_parameters()
    for parameter in trained.values():
        parameter.grad = None
    for process in range(count):
        stream = BatchStream(run.data.rows["stage2"], stage, 0, process, count)
        for batch in stream.micro_batches(0):
            (objective(setup.model, batch.rows) * batch.share).backward()
    return {name: p.grad.clone() for name, p in trained.items()}


@pytest.mark.parametrize(
    "split", [(4, 2, 1), (2, 4, 1), (1, 8, 1), (2, 2, 2), (1, 2, 4), (3, 1, 3)]
)
def test_a_step_has_the_same_gradient_however_it_is_split(prepared, split):
    want = gradients(prepared, "tokens", 8, 1, 1)
    found = gradients(prepared, "tokens", *split)
    largest = max(float(gradient.abs().max()) for gradient in want.values())
    for name, gradient in want.items():
        assert torch.allclose(found[name], gradient, rtol=0, atol=1e-6 * max(1.0, largest)), name


@pytest.mark.slow
def test_llavas_reduction_weighs_every_micro_batch_alike(prepared):
    """Which the tokens' reduction does not: the answers are uneven."""
    tokens = gradients(prepared, "tokens", 1, 8, 1)
    halves = gradients(prepared, "micro_batches", 1, 8, 1)
    assert any(not torch.allclose(halves[n], g, rtol=1e-2) for n, g in tokens.items())
    run = prepared[0]
    stage = StageConfig(batch_size=1, accumulation=8, loss_reduction="micro_batches")
    stream = BatchStream(run.data.rows["stage2"], stage, 0)
    assert {batch.share for batch in stream.micro_batches(0)} == {1 / 8}


@pytest.mark.parametrize(
    ("batch", "accumulation", "count", "epochs"),
    [(4, 2, 1, 3), (1, 1, 4, 3), (8, 1, 1, 2), (3, 2, 2, 1), (1, 3, 4, 5)],
)
def test_epochs_train_on_each_record_once(prepared, batch, accumulation, count, epochs):
    run = prepared[0]
    rows = run.data.rows["stage2"]
    stage = StageConfig(batch_size=batch, accumulation=accumulation, epochs=epochs)
    streams = [BatchStream(rows, stage, 0, process, count) for process in range(count)]
    seen: Counter[str] = Counter()
    for step in range(streams[0].steps):
        batches = [stream.micro_batches(step) for stream in streams]
        # Gradients are exchanged: no process may have fewer than the others.
        assert len({len(own) for own in batches}) == 1
        assert sum(b.share for own in batches for b in own) == pytest.approx(1)
        for own in batches:
            for micro in own:
                if micro.share:
                    seen.update(str(row.segments) + str(row.images) for row in micro.rows)
    assert set(seen.values()) == {epochs}
    counted = sum(streams[0].conversations(step) for step in range(streams[0].steps))
    assert counted == epochs * len(rows)


def test_half_an_epoch_is_half_of_the_batches(prepared):
    rows = prepared[0].data.rows["stage2"]
    assert BatchStream(rows, StageConfig(batch_size=1, epochs=0.5), 0).steps == 4
    assert BatchStream(rows, StageConfig(batch_size=1, epochs=1.5), 0).steps == 12


def test_the_held_out_loss_is_over_tokens_too(prepared):
    run, setup, _ = prepared
    objective = run.data.objective("stage2")
    losses = []
    for size, count in ((8, 1), (2, 4)):
        stream = BatchStream(run.data.rows["stage2"], StageConfig(batch_size=size), 0)
        with torch.no_grad():
            parts = [f * float(objective(setup.model, r)) for r, f in stream.following(0, count)]
        losses.append(sum(parts) / len(parts))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
