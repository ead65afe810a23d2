"""What each page presupposes that its reader has, by the names that the page gives it."""

from __future__ import annotations

from collections.abc import Mapping

from documented import things as t
from documented.things import Thing

_INT4, _FP32 = t.bundle("executorch", "int4"), t.bundle("executorch", "fp32")
_ONNX = t.bundle("onnx", "fp32")
_RUN = {"runs/emojiqa": t.run}
_EMOJIQA = {"data/emojiqa": t.emojiqa}
_CLI = "docs/cli.md "

PRESUPPOSED: Mapping[str, Mapping[str, Thing]] = {
    "README.md": {"train.json": t.records, "images": t.pictures, "photo.jpg": t.photo},
    "docs/android.md": _RUN,
    "docs/benchmarks.md": {
        **_RUN, "benchmark_data": t.benchmark_data, "answers.jsonl": t.pope_answers,
        "bundle": _INT4, "bundle-onnx": _ONNX, "report-a": t.report, "report-b": t.report,
    },
    "docs/data.md": {
        "my_chats.jsonl": t.messages, "images": t.pictures, "vqa.parquet": t.columns,
        "chats.parquet": t.parquet, "held_out.jsonl": t.messages,
    },
    "docs/devices.md": {
        "BUNDLE": _INT4, "bundle-int4": _INT4, "bundle-fp32": _FP32,
    },
    "docs/original_checkpoints.md": {"MODEL": t.original},
    "docs/export.md": {
        **_EMOJIQA, "run": t.merged_run, "bundle": _ONNX, "bundle-fp32": _FP32,
        "runs/a": t.run, "runs/b": t.another_run, "ADAPTER": t.adapter,
    },
    "docs/families.md": {"FOLDER": t.smolvlm, "train.jsonl": t.messages, "images": t.pictures},
    "docs/own_benchmark.md": {
        "runs/mine": t.run, "BUNDLE": _INT4, "my_test.jsonl": t.test_set, "images": t.pictures,
        "answers.jsonl": t.answers_to_test_set, "benchmark_data": t.benchmark_data,
    },
    "docs/ranks.md": _RUN,
    "docs/training_on_gpus.md": {
        "imported": t.imported, "my.yaml": t.config,
        "data/finetune_data": t.pictures, "data/pretrain_data": t.pictures,
        "data/finetune_data/llava_v1_5_mix665k.json": t.records,
        "data/pretrain_data/blip_laion_cc_sbu_558k.json": t.records,
    },
    "docs/tutorial.md": {"train.jsonl": t.messages, "test.jsonl": t.test_set, "images": t.pictures},
    f"{_CLI}families check": {"path/to/SmolVLM-256M-Instruct": t.smolvlm},
    f"{_CLI}config check": {"my.yaml": t.config},
    f"{_CLI}cache clear": {"cache/logs": t.logs},
    f"{_CLI}data check": {"my_chats.jsonl": t.messages, "images": t.pictures},
    f"{_CLI}data head": {"my_chats.jsonl": t.messages, "images": t.pictures},
    f"{_CLI}data convert": {"chats.parquet": t.parquet},
    f"{_CLI}estimate": {"runs/emojiqa/bundles/android-executorch-int4": _INT4},
    f"{_CLI}train": {**_EMOJIQA, "train.json": t.records_of_images, "images": t.pictures},
    f"{_CLI}runs plot": {**_RUN, "runs/uniform": t.run},
    f"{_CLI}runs show": _RUN,
    f"{_CLI}ranks show": _RUN,
    f"{_CLI}merge": _RUN,
    f"{_CLI}export": _RUN,
    f"{_CLI}bundle show": {"BUNDLE": t.small_bundle},
    f"{_CLI}bundle add": {"BUNDLE": t.separate, "runs/second": t.another_run},
    f"{_CLI}push": {**_RUN, "BUNDLE": _INT4},
    f"{_CLI}verify": {"BUNDLE": t.small_bundle},
    f"{_CLI}evaluate": {
        **_RUN, **_EMOJIQA, "BUNDLE": _INT4, "my_test.jsonl": t.test_set, "images": t.pictures,
        "benchmark_data": t.benchmark_data,
    },
    f"{_CLI}benchmarks check": {"benchmark_data": t.benchmark_data},
    f"{_CLI}benchmarks table": {"benchmark_data": t.benchmark_data},
    f"{_CLI}score": {"benchmark_data": t.benchmark_data, "answers.jsonl": t.pope_answers},
    f"{_CLI}report": {"report-int4": t.report, "report-uniform": t.report},
    f"{_CLI}bench": {"BUNDLE": _INT4},
    f"{_CLI}chat": {**_RUN, "sun.png": t.photo},
    f"{_CLI}convert": {"runs/emojiqa": t.original},
}  # fmt: skip

#: Pages whose commands take longer than the everyday tests have: exports, runners, processes.
SLOW = (
    *("README.md", "docs/android.md", "docs/benchmarks.md", "docs/devices.md", "docs/export.md"),
    *("docs/own_benchmark.md", "docs/ranks.md", "docs/training_on_gpus.md", "docs/families.md"),
    *(f"{_CLI}{verb}" for verb in ("estimate", "export", "evaluate", "bench", "push")),
    *(f"{_CLI}{verb}" for verb in ("bundle add", "report")),
)
