"""Does a default bundle answer alike wherever ExecuTorch runs it?

The golden questions of each bundle, token ids against the trained model's own (golden.json), in

- the app's code on a desktop's JVM, with Android's x86-64 library and the app's bridge;
- the C++ runner on x86-64;
- the C++ runner for Android arm64-v8a, the program that a phone gets, under qemu;
- ExecuTorch's own MultimodalRunner, in its Python binding;
- Python, which `evaluate` uses, and there once more with pixels times 1 + 1e-7: what rounding
  alone does.

Nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from android_demo.tools.desktop import arm64, benchmark
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.quiet import quiet
from hydra_mobile.devices import native_build
from hydra_mobile.devices.batch_format import REQUESTS, Ask, write_requests
from hydra_mobile.models.templates import Template

#: ExecuTorch's runner keeps a process's state, and its operators stand beside Python's runtime.
_OWN = """
import json, sys
import executorch.kernels.quantized
from executorch.extension.llm.custom_ops import custom_ops
from executorch.extension.llm.runner import (
    GenerationConfig, MultimodalRunner, make_image_input, make_text_input)
from safetensors.torch import load_file
bundle, index, before, after, count = json.loads(sys.argv[1])
runner = MultimodalRunner(f"{bundle}/model.pte", f"{bundle}/tokenizer.json")
pixels = load_file(f"{bundle}/golden.safetensors")[f"{index}.pixels"]
pieces = []
runner.generate([make_text_input(before), make_image_input(pixels), make_text_input(after)],
    GenerationConfig(max_new_tokens=count, temperature=0.0, echo=False), pieces.append)
print("ANSWER" + json.dumps("".join(pieces)))
"""


OWN = "executorch_own_runner"
ROUTES = ("app_jvm", "runner_x86_64", "runner_android_arm64", OWN, "python", "python_nudged")


def lines(file: Path) -> dict[str, Any]:
    """Return answers by id."""
    found = map(json.loads, file.read_text().splitlines())
    return {line["id"]: line for line in found if "id" in line}


def in_the_app(folder: Path, cases: Sequence[dict[str, Any]], work: Path) -> list[Any]:
    """Ask the app's code; ids of each case."""
    asks = [
        Ask(str(i), c["question"], lambda c=c: Image.open(folder / c["image"]), str(i), 16, False)
        for i, c in enumerate(cases)
    ]
    write_requests(work, asks, Bundle.open(folder).processor())
    (work / "app.jsonl").unlink(missing_ok=True)
    benchmark.run_benchmark(folder, work / REQUESTS, work / "app.jsonl", threads=2)
    told = lines(work / "app.jsonl")
    return [told[str(i)]["ids"] for i in range(len(cases))]


def in_the_runner(
    folder: Path, cases: Sequence[dict[str, Any]], work: Path, command: Sequence[str]
) -> list[Any]:
    """Ask the C++ runner that a command starts; ids of each case."""
    requests, answers = work / "native.jsonl", work / "answers.jsonl"
    asked = [
        {
            "id": str(i),
            "image": str((folder / case["image"]).resolve()),
            "before": case["before"],
            "after": case["after"],
            "max_new_tokens": 16,
            "stop": False,
        }
        for i, case in enumerate(cases)
    ]
    requests.write_text("".join(dumps(line) + "\n" for line in asked))
    answers.unlink(missing_ok=True)
    given = ["--bundle", str(folder), "--requests", str(requests), "--answers", str(answers)]
    subprocess.run([*command, *given, "--threads", "2"], check=True, stderr=subprocess.DEVNULL)
    told = lines(answers)
    return [told[str(i)]["ids"] for i in range(len(cases))]


def in_executorchs_own(folder: Path, cases: Sequence[dict[str, Any]]) -> list[str]:
    """Ask MultimodalRunner; the text of each case, up to the stop token."""
    template = Template.from_dict(Bundle.open(folder).manifest["template"], "")
    before = template.start + template.user_prefix
    texts = []
    for index, case in enumerate(cases):
        after = template.image_suffix + case["question"] + template.user_suffix
        given = [str(folder), index, before, after + template.answer_prefix, 16]
        command = [sys.executable, "-W", "ignore", "-c", _OWN, dumps(given)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = done.stdout.rpartition("ANSWER")[2]
        texts.append(json.loads(found.splitlines()[0]).partition(template.answer_suffix)[0])
    return texts


def in_python(folder: Path, cases: Sequence[dict[str, Any]], factor: float) -> list[Any]:
    """Ask ExecuTorch's Python runtime, pixels times a factor; ids of each case."""
    from hydra_mobile.runtimes.executorch import ExecuTorchRuntime
    from hydra_mobile.runtimes.generation import Generator

    generator = Generator(ExecuTorchRuntime.load(folder, threads=2))
    vectors = load_file(folder / "golden.safetensors")
    found = []
    for index, case in enumerate(cases):
        pixels = (vectors[f"{index}.pixels"] * np.float32(factor)).astype(np.float32)
        answer = generator.answer(
            case["question"], lambda p=pixels: p, max_new_tokens=16, stop=False
        )
        found.append(answer.ids)
    return found


def compare(folder: Path, work: Path, chosen: Sequence[str]) -> dict[str, Any]:
    """Ask one bundle in the ways that are chosen."""
    bundle = Bundle.open(folder)
    stops = set(bundle.manifest["stop_ids"])
    tokenizer = bundle.processor().tokenizer
    cases = json.loads((folder / "golden.json").read_text())["cases"]
    work.mkdir(parents=True, exist_ok=True)

    def text(ids: Sequence[int]) -> str:
        end = next((i for i, token in enumerate(ids) if token in stops), len(ids))
        return str(tokenizer.decode(list(ids[:end]))).strip()

    def runner() -> list[Any]:
        return in_the_runner(
            folder, cases, work, [str(native_build.native_runner(native_build.host()))]
        )

    def phone() -> list[Any]:
        return in_the_runner(folder, cases, work, arm64.command(native_build.android_runner()))

    ways: dict[str, Callable[[], list[Any]]] = {
        "app_jvm": lambda: in_the_app(folder, cases, work),
        "runner_x86_64": runner,
        "runner_android_arm64": phone,
        "python": lambda: in_python(folder, cases, 1),
        "python_nudged": lambda: in_python(folder, cases, 1 + 1.2e-7),
    }
    told = {
        route: list(map(text, ways[route]())) for route in ROUTES if route in ways.keys() & chosen
    }
    if OWN in chosen:
        told[OWN] = [t.strip() for t in in_executorchs_own(folder, cases)]
    golden = [text(case["ids"]) for case in cases]
    return {
        "preset": bundle.preset.name,
        "attention": bundle.manifest["details"]["attention"],
        "golden": golden,
        "equal": {
            route: sum(a == b for a, b in zip(answers, golden, strict=True))
            for route, answers in told.items()
        },
        "of": len(golden),
        "answers": told,
    }


def merged(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a row with the routes that an earlier run asked the same bundle by."""
    same = ("preset", "golden")
    older = next((o for o in rows if all(o[key] == row[key] for key in same)), None)
    if older is None:
        return row
    return row | {key: older[key] | row[key] for key in ("equal", "answers")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--routes", nargs="+", choices=ROUTES, default=ROUTES)
    parser.add_argument("--work", type=Path, default=Path("runs/routes"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("routes.json"))
    arguments = parser.parse_args()
    quiet()
    rows = json.loads(arguments.out.read_text())["bundles"] if arguments.out.is_file() else []
    for folder in arguments.bundles:
        row = compare(folder, arguments.work / folder.name, arguments.routes)
        rows = [merged(row, rows), *(other for other in rows if other["preset"] != row["preset"])]
        print(row["preset"], row["equal"], "of", row["of"], flush=True)
        write_json(arguments.out, {"machine": platform.machine(), "bundles": rows})


if __name__ == "__main__":
    main()
