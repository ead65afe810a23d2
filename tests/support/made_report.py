"""A made-up report with numbers of a believable size. Only for tests: nothing here was measured."""

import math
import random

from hydra_mobile.reporting.results import (
    Agreement,
    Delegation,
    Environment,
    Score,
    Spread,
    SystemResult,
    Timings,
)
from hydra_mobile.reporting.schema import REPORT_SCHEMA, ParityRow, Report
from hydra_mobile.reporting.training_section import (
    LossPoint,
    ParameterCounts,
    StageFacts,
    TrainingSection,
)

PROJECTIONS = {
    "self_attn": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
}


def _spread(median: float) -> Spread:
    return Spread(median, median * 0.97, median * 1.04, 7)


def _timings(
    load: float, encode: float | None, prefill: float, first: float, decode: float
) -> Timings:
    return Timings(
        load=_spread(load),
        encode=None if encode is None else _spread(encode),
        prefill_tokens_per_second=_spread(prefill),
        first_token=_spread(first),
        decode_tokens_per_second=_spread(decode),
    )


def _scores(seen: float, unseen: float) -> tuple[Score, ...]:
    kinds = (("all", 0.0, 400), ("yesno", 0.05, 160), ("choice", -0.06, 120), ("word", -0.1, 120))
    return tuple(
        Score("emojiqa", split, kind, v + d, v + d - 0.9 / n**0.5, v + d + 0.9 / n**0.5, n, m)
        for split, v, m in (("seen", seen, 0.372), ("unseen", unseen, 0.365))
        for kind, d, n in kinds
    )


def _agreement(seen: int, unseen: int) -> dict[str, Agreement]:
    return {"seen": Agreement(seen, 400), "unseen": Agreement(unseen, 400)}


def _systems() -> tuple[SystemResult, ...]:
    common = {"source_hash": "3f9a51c07be244d1" * 4, "threads": 2}
    return (
        SystemResult(
            name="torch fp32 (untrained)",
            runtime="torch",
            preset="fp32",
            role="untrained",
            artefact="smol",
            size_bytes=556_000_000,
            scores=_scores(0.281, 0.274),
            threads=2,
            reasons={
                key: "timed once, on the trained model"
                for key in (
                    "encode",
                    "prefill_tokens_per_second",
                    "decode_tokens_per_second",
                    "load",
                    "first_token",
                    "peak_memory_bytes",
                )
            },
        ),
        SystemResult(
            name="torch fp32 (trained)",
            runtime="torch",
            preset="fp32",
            role="reference",
            artefact="merged",
            size_bytes=556_412_880,
            timings=_timings(0.91, 0.0612, 402.0, 0.231, 11.4),
            peak_memory_bytes=1_512_000_000,
            scores=_scores(0.7425, 0.6875),
            **common,
        ),
        SystemResult(
            name="ExecuTorch fp32",
            runtime="executorch",
            preset="fp32",
            role="export",
            artefact="bundle-executorch-fp32",
            size_bytes=561_900_000,
            timings=_timings(0.42, 0.0331, 610.0, 0.142, 24.9),
            peak_memory_bytes=1_208_000_000,
            delegation=Delegation(0.913, 0.9987),
            scores=_scores(0.7425, 0.6875),
            agreement=_agreement(400, 400),
            **common,
        ),
        SystemResult(
            name="ExecuTorch int4",
            runtime="executorch",
            preset="int4",
            role="export",
            artefact="bundle-executorch-int4",
            size_bytes=121_300_000,
            timings=_timings(0.19, 0.0248, 790.0, 0.108, 63.2),
            peak_memory_bytes=402_000_000,
            delegation=Delegation(0.921, 0.9991),
            scores=_scores(0.73, 0.6775),
            agreement=_agreement(378, 369),
            fallbacks=(
                "vision_tower.conv_head stays fp32: 8-bit dynamic covers linear layers only",
            ),
            **common,
        ),
        SystemResult(
            name="ONNX fp32",
            runtime="onnx",
            preset="fp32",
            role="export",
            artefact="bundle-onnx-fp32",
            size_bytes=557_100_000,
            timings=_timings(0.77, 0.0305, 655.0, 0.131, 27.3),
            peak_memory_bytes=1_260_000_000,
            scores=_scores(0.7425, 0.685),
            agreement=_agreement(400, 399),
            reasons={"delegation": "ONNX Runtime on the processor delegates nothing"},
            **common,
        ),
        SystemResult(
            name="ONNX int4",
            runtime="onnx",
            preset="int4",
            role="export",
            artefact="bundle-onnx-int4",
            size_bytes=133_800_000,
            timings=_timings(0.21, 0.0299, 512.0, 0.149, 58.8),
            peak_memory_bytes=471_000_000,
            scores=_scores(0.7225, 0.6725),
            agreement=_agreement(371, 355),
            reasons={"delegation": "ONNX Runtime on the processor delegates nothing"},
            **common,
        ),
    )


def _rank_map() -> dict[str, int]:
    draw = random.Random(3)
    ranks = {}
    for layer in range(30):
        for block, names in PROJECTIONS.items():
            for name in names:
                lean = 9 + 14 * math.exp(-(((layer - 21) / 7) ** 2)) - 3 * (name in "k_proj v_proj")
                rank = max(0, 2 * round((lean + draw.gauss(0, 4)) / 2))
                ranks[f"language_model.model.layers.{layer}.{block}.{name}"] = rank
    return ranks


def _loss() -> tuple[LossPoint, ...]:
    draw = random.Random(5)
    first = [2.1 + 2.4 * math.exp(-s / 30) + draw.gauss(0, 0.12) for s in range(0, 120)]
    second = [0.5 + 1.4 * math.exp(-s / 90) + draw.gauss(0, 0.1) for s in range(0, 400)]
    stages = (("projector", first), ("adapters", second))
    return tuple(
        LossPoint(stage, step + 1, round(max(loss, 0.05), 4))
        for stage, losses in stages
        for step, loss in enumerate(losses)
    )


def make_report() -> Report:
    environment = Environment(
        kind="host",
        machine="x86_64",
        system="Debian GNU/Linux 12 (bookworm), Linux 6.1",
        python="3.11.9",
        cpu="Imaginary Processor 2.60GHz",
        cpu_flags=("avx2", "fma", "avx512f", "avx512_vnni"),
        cores_physical=1,
        cores_logical=2,
        memory_bytes=16_800_000_000,
        load_average=(0.31, 0.52, 0.6),
        packages={"torch": "2.13.0", "transformers": "5.24.0", "peft": "0.21.1"},
        git_revision="82fc40a1b2c3",
    )
    training = TrainingSection(
        base="smol",
        policy="hydra",
        r_ref=16,
        parameters=ParameterCounts(lora=4_883_712, budget=4_884_480, projector=1_106_496),
        stages=(
            StageFacts("projector", 120, 96.0, 40.1),
            StageFacts("adapters", 400, 561.0, 11.4),
        ),
        peak_memory_bytes=3_120_000_000,
        loss=_loss(),
        rank_map=_rank_map(),
    )
    parity = (
        ParityRow("adapter in eager → merged", 2.1e-5, 3.0e-6, 1.0, 1.0, 1.0, 1e-4, "pass"),
        ParityRow("merged → ExecuTorch fp32", 1.4e-4, 1.1e-5, 0.99999991, 1.0, 1.0, 1e-3, "pass"),
        ParityRow("merged → ExecuTorch int4", 2.31, 0.31, 0.99124, 0.9375, 0.875),
        ParityRow("merged → ONNX fp32", 8.9e-5, 9.2e-6, 0.99999995, 1.0, 1.0, 1e-3, "pass"),
        ParityRow("merged → ONNX int4", 3.02, 0.42, 0.98711, 0.875, None),
    )
    return Report(
        schema=REPORT_SCHEMA,
        created="2026-10-01T12:00:00Z",
        title="smol on EmojiQA with HyDRA ranks",
        environment=environment,
        training=training,
        systems=_systems(),
        parity=parity,
        protocol="Greedy, batch 1, one process per row; median of 7 questions after one warm-up; "
        "a prompt has about 64 tokens, 49 of them the picture's.",
        notes=("The untrained model keeps the pretrained parts and a random projector.",),
        titles={"emojiqa": "EmojiQA"},
        licences={"OpenMoji artwork": "CC BY-SA 4.0", "SmolLM2-135M-Instruct": "Apache-2.0"},
    )
