"""What int4 changes in the answers of a trained model, without exporting it each time.

The model answers greedily, as it is and with the weights that the exporter would write (its own
`plan_decoder`), the inputs of linears quantized by row to 8 bits as ExecuTorch does. Vision parts
stay as they are. `python -m experiments.presets.rounded BUNDLE MERGED --data DIR --report DIR`
holds that against the answers of a real bundle.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.presets.agreement import inputs_by_row, on_grid
from experiments.presets.prompts import Prompt, prompts_of
from hydra_export.quantization.calibration import from_data, self_sampled
from hydra_export.quantization.gptq import weights_replaced
from hydra_export.quantization.mixed_precision import plan_decoder
from hydra_export.training_data import TrainingData
from hydra_mobile.benchmarks.emojiqa import EmojiQA
from hydra_mobile.bundle.presets import PRESETS
from hydra_mobile.core.quiet import quiet
from hydra_mobile.runtimes.torch import load_artifact

_AT_ONCE = 16
#: What 4-bit weights can be rounded on; a model that was trained for 4 bits is exported "nearest".
ROUNDINGS = ("training data", "own text", "nearest")
Row = dict[str, Any]


def answered(
    language_model: Any, prompts: list[Prompt], table: Tensor, stop: Container[int], most: int
) -> tuple[list[list[int]], Tensor]:
    """Answer greedily; return the ids of each answer and the logits [n, V] of its first token.

    Args:
        language_model: the decoder with its head.
        prompts: in any order; similar lengths are answered together.
        table: embeddings [V, hidden].
        stop: ids that end an answer.
        most: tokens of an answer.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    first = torch.empty(len(prompts), len(table))
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].ids))
    for start in range(0, len(order), _AT_ONCE):
        chosen = order[start : start + _AT_ONCE]
        rows = [prompts[i].embeddings(table) for i in chosen]
        longest = max(len(row) for row in rows)
        inputs = torch.zeros(len(rows), longest, table.shape[1])
        # Padded on the left: the answers of all go on from the same place.
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for at, row in enumerate(rows):
            inputs[at, longest - len(row) :] = row
            mask[at, longest - len(row) :] = 1
        cache = None
        going = set(range(len(chosen)))
        for number in range(most):
            position = (mask.cumsum(1) - 1).clamp(min=0)[:, -inputs.shape[1] :]
            output = language_model.model(
                inputs_embeds=inputs,
                attention_mask=mask,
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
            )
            cache = output.past_key_values
            logits = language_model.lm_head(output.last_hidden_state[:, -1])
            if number == 0:
                first[chosen] = logits
            tokens = logits.argmax(-1)
            going -= {at for at in going if int(tokens[at]) in stop}
            for at in going:
                answers[chosen[at]].append(int(tokens[at]))
            if not going:
                break
            inputs = table[tokens][:, None]
            mask = torch.cat([mask, torch.ones(len(rows), 1, dtype=torch.long)], 1)
    return answers, first


@torch.no_grad()
def measured(run: Path, data: Path, limit: int, rounding: str) -> Iterator[tuple[str, Row]]:
    """Yield what fp32 and then a rounding of a run's merged model answer, by name.

    Args:
        run: holds `merged`.
        data: folder of EmojiQA.
        limit: questions of each split.
        rounding: of `ROUNDINGS`.
    """
    model, processor = load_artifact(run / "merged")
    model.requires_grad_(False)
    language_model: Any = model.language_model
    benchmark = EmojiQA(data)
    samples = benchmark.samples(splits=("seen", "unseen"), limit=limit)
    prompts = prompts_of(model, processor, samples)
    stop, most = set(processor.stop_ids), benchmark.max_new_tokens
    table = language_model.model.embed_tokens.weight.detach().clone()

    def row(ids: list[list[int]], **facts: Any) -> Row:
        texts = [processor.decode(each) for each in ids]
        right = [benchmark.credit(s, t) > 0 for s, t in zip(samples, texts, strict=True)]
        return {"right": bits(right), "texts": texts, **facts}

    reference, wanted = answered(language_model, prompts, table, stop, most)
    yield "fp32", row(reference)
    began = time.perf_counter()
    preset = PRESETS["int4"]
    calibration = None
    if rounding == "nearest":
        preset = dataclasses.replace(preset, rounding="nearest", sensitive=None, budget=None)
    elif rounding == "training data":
        calibration = from_data(model, processor, TrainingData(data / "train_stage2.json"))
    else:
        calibration = self_sampled(model, processor.image.size)
    plan = plan_decoder(model, preset, calibration, processor.image.size, lambda _: None)
    seconds = time.perf_counter() - began
    weights, rows = on_grid(language_model, plan)
    with weights_replaced(weights), inputs_by_row(language_model):
        found, logits = answered(language_model, prompts, rows, stop, most)
    same = [a == b for a, b in zip(found, reference, strict=True)]
    shares = wanted.log_softmax(-1)
    divergence = (shares.exp() * (shares - logits.log_softmax(-1))).sum(-1)
    yield (
        rounding,
        row(
            found,
            same=bits(same),
            rounding_seconds=round(seconds, 1),
            logit_error=round(float((logits - wanted).norm() / wanted.norm()), 5),
            divergence=round(float(divergence.mean()), 5),
        ),
    )


def clusters_of(data: Path, limit: int) -> list[str]:
    """Return for each question what it is drawn together with, in the order of the answers."""
    return [s.cluster for s in EmojiQA(data).samples(splits=("seen", "unseen"), limit=limit)]


def bits(values: list[bool]) -> str:
    """Return one character, 0 or 1, for each value."""
    return "".join("1" if value else "0" for value in values)


def main() -> None:
    from experiments.presets.run import verb

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="int4, rounded on data/train_stage2.json")
    parser.add_argument("merged", type=Path, help="what it was exported from")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=120)
    parser.add_argument("--rounding", default="training data", choices=ROUNDINGS)
    parser.add_argument("--report", type=Path, required=True, help="of `evaluate`, made if missing")
    given = parser.parse_args()
    quiet()
    from hydra_mobile.evaluation.store.prediction_log import read_answers

    if not (given.report / "report.json").is_file():
        command = ["evaluate", str(given.merged), str(given.bundle), "--benchmarks", "emojiqa"]
        command += ["--data", str(given.data), "--limit", str(given.limit)]
        verb(*command, "--out", str(given.report))
    samples = EmojiQA(given.data).samples(splits=("seen", "unseen"), limit=given.limit)
    rows = dict(measured(given.merged.parent, given.data, given.limit, given.rounding))
    for name, row in rows.items():
        for folder in sorted((given.report / "answers").iterdir()):
            with contextlib.suppress(StopIteration):
                file = next(folder.rglob("answers.jsonl"))
                texts = {answer.key: answer.text.strip() for answer in read_answers(file)}
                same = [
                    texts.get(s.key) == t.strip()
                    for s, t in zip(samples, row["texts"], strict=True)
                ]
                print(f"{name:<14} {folder.name:<40} {sum(same)} of {len(same)} answers equal")


if __name__ == "__main__":
    main()
