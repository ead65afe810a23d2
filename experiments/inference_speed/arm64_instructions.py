"""How many arm64 instructions does a token or a picture take, ours and llama.cpp's?

    python -m experiments.inference_speed.arm64_instructions --merged quickstart/run/merged

Both programs are built for arm64 and run under qemu, which counts what they execute; nothing is
timed. hydra-runner answers with our ExecuTorch bundles, a loop of ours on llama.cpp with GGUF
files of the same weights. Both read the same token ids and choose the likeliest token. Every count
comes from differences of questions within a process, so that loading is left out; each process is
run twice, which shows how far counts repeat. Debian packages: qemu-user, g++-aarch64-linux-gnu,
gcc, cmake and the runner's own (`native/README.md`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from experiments.inference_speed import llama_source
from experiments.inference_speed.arm64.builds import require_packages
from experiments.inference_speed.arm64.counting import Answers, Question, ask_llama_cpp, ask_runner
from experiments.inference_speed.arm64.processors import PROCESSORS, Processor
from experiments.inference_speed.arm64.table import render
from experiments.inference_speed.engines import FORMS, engine_class
from experiments.inference_speed.engines.base import Form, Place
from experiments.inference_speed.engines.llama_cpp import gguf_of
from experiments.inference_speed.engines.runner_engine import bundle_of
from experiments.inference_speed.protocol import Protocol, picture, prompt_ids
from experiments.inference_speed.session import WEIGHTS
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import sha256_of, write_json
from hydra_mobile.core.quiet import quiet
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.reporting import environment

RESULT = Path(__file__).with_name("arm64_instructions.json")
PROTOCOL = Protocol(new_tokens=16)
_SIDES = {"executorch": "ours", "llama.cpp": "llama.cpp"}


def questions(processor: MobileVLMProcessor, protocol: Protocol, work: Path) -> list[Question]:
    """Return what is asked, the warm-up first; pictures are written to `work`.

    A prompt with a picture has as many tokens in all as the shortest one without.
    """
    shortest = min(protocol.prompts)
    asked = [Question("warm-up", tuple(prompt_ids(processor, shortest)), 2)]
    for length in protocol.prompts:
        ids = tuple(prompt_ids(processor, length))
        asked.append(Question(f"prefill {length}", ids))
        asked.append(Question(f"decode {length}", ids, 1 + protocol.new_tokens))
    text = tuple(prompt_ids(processor, shortest - processor.num_image_tokens))
    pixels, file = work / "picture.f32", work / "picture.png"
    processor.preprocess(picture()).astype(np.float32).tofile(pixels)
    picture().save(file)
    return [*asked, Question("pixels", text, 1, pixels), Question("file", text, 1, file)]


def ask(form: Form, place: Place, processor: Processor, asked: list[Question]) -> Answers:
    """Ask one form in a process of its own; llama.cpp is asked no pictures."""
    if form.engine == "executorch":
        return ask_runner(bundle_of(form.engine, form, place), processor, asked, place.work)
    texts = [question for question in asked if question.picture is None]
    return ask_llama_cpp(gguf_of(form, place), processor, texts, place.context, place.work)


def measure(place: Place, forms: list[Form], protocol: Protocol, runs: int) -> list[dict[str, Any]]:
    """Count every form on every processor, `runs` times."""
    asked = questions(MobileVLMProcessor.from_pretrained(place.merged), protocol, place.work)
    rows = []
    for form in forms:
        engine_class(form.engine).make(form, place)
        for processor in PROCESSORS:
            for run in range(runs):
                found = ask(form, place, processor, asked)
                counts = {q.name: c for q, c in zip(asked, found.counts, strict=False)}
                del counts["warm-up"]
                row = {"form": form.name, "side": _SIDES[form.engine], "bits": form.bits}
                row |= {"processor": processor.name, "run": run, "counts": counts}
                rows.append(row | {"ids": found.ids[2], "program": found.facts})
                print(f"{form.name}, {processor.name}, run {run + 1}: {counts}", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--merged", type=Path, default=Path("quickstart/run/merged"))
    parser.add_argument("--work", type=Path, default=Path("runs/arm64_instructions"))
    parser.add_argument("--bundles", type=Path, nargs="*", default=[Path("quickstart")])
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 4])
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    quiet()
    forms = [form for form in FORMS if form.engine in _SIDES and form.bits in given.bits]
    try:
        require_packages()
        if not (given.merged / WEIGHTS).is_file():
            raise HydraError(f"{given.merged} holds no merged model.", "Run `make quickstart`.")
        given.work.mkdir(parents=True, exist_ok=True)
        weights = sha256_of(given.merged / WEIGHTS)
        room = PROTOCOL.context, max(PROTOCOL.prompts)
        place = Place(given.merged, weights, given.work.resolve(), tuple(given.bundles), *room)
        rows = measure(place, forms, PROTOCOL, given.runs)
    except HydraError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    value = {
        "what": "arm64 instructions executed under qemu's user mode, not time; one thread, greedy",
        "protocol": PROTOCOL.to_dict(),
        "environment": vars(environment.collect()),
        "model": {"weights_sha256": weights},
        "llama.cpp": llama_source.REQUIREMENT,
        "processors": {p.name: {"qemu": p.qemu, "march": p.march} for p in PROCESSORS},
        "rows": rows,
    }
    write_json(given.out, value)
    print(render(value))
    return 0


if __name__ == "__main__":
    sys.exit(main())
