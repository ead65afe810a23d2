"""One engine in a process of its own: make its files, check its outputs, time it or profile it.

    python -m experiments.inference_speed.measure TASK REQUEST.json

Prints one line of JSON last. What each time includes stands in the engine's own module; here the
choice of the likeliest token (numpy's argmax) is inside every step. Started by `run.py`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.inference_speed import outputs
from experiments.inference_speed.engines import FORMS, engine_class
from experiments.inference_speed.engines.base import Engine, Form, Place
from experiments.inference_speed.protocol import Protocol, pixels, prompt_ids
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.memory import peak_resident_bytes
from hydra_mobile.core.quiet import quiet
from hydra_mobile.models.processor import MobileVLMProcessor

REFERENCE_FILE = "reference.npz"


def timed(engine: Engine, processor: MobileVLMProcessor, protocol: Protocol) -> dict[str, Any]:
    """Return times in seconds, each a list over the repeats.

    Keys: "load"; for each prompt length n "prefill n" and "decode n" (all new tokens together);
    for an engine that encodes pictures "encode", and "first token", which is encoding a picture and
    reading it with the text of the shortest prompt, of the shortest prompt's length in all.
    """
    prompts = {n: prompt_ids(processor, n) for n in protocol.prompts}
    shortest = min(protocol.prompts)
    picture = pixels(processor) if engine.whole else None
    # Takes what only the first call pays: packing of weights, memory for the largest prompt.
    outputs.write(engine, prompts[max(prompts)], 4)
    if picture is not None:
        engine.encode(picture)
    seconds: dict[str, list[float]] = {"load": [engine.load_seconds]}
    for _ in range(protocol.repeats):
        for length, ids in prompts.items():
            began = time.perf_counter()
            token = int(engine.read(ids).argmax())
            read = time.perf_counter()
            for _ in range(protocol.new_tokens):
                token = int(engine.step(token).argmax())
            ended = time.perf_counter()
            seconds.setdefault(f"prefill {length}", []).append(read - began)
            seconds.setdefault(f"decode {length}", []).append(ended - read)
        if picture is not None:
            text = prompts[shortest][: max(1, shortest - processor.num_image_tokens)]
            began = time.perf_counter()
            seen = engine.encode(picture)
            encoded = time.perf_counter()
            engine.read_picture(seen, text).argmax()
            ended = time.perf_counter()
            seconds.setdefault("encode", []).append(encoded - began)
            seconds.setdefault("first token", []).append(ended - began)
    return {name: [round(value, 6) for value in values] for name, values in seconds.items()}


def make(form: Form, place: Place, processor: MobileVLMProcessor) -> dict[str, Any]:
    """Make the files; return their size and the bits that a weight takes in them."""
    kind = engine_class(form.engine)
    files = kind.make(form, place)
    parameters = _parameters(place.merged)
    held = sum(parameters.values()) if kind.whole else parameters["language"]
    size = sum(file.stat().st_size for file in files)
    return {
        "files_bytes": size,
        "weights": held,
        "bits_per_weight": round(8 * size / held, 3),
        "whole": kind.whole,
        "note": kind.note,
    }


def _parameters(folder: Path) -> dict[str, int]:
    """Return weights of the language part and of the rest; what is tied counts once."""
    from safetensors import safe_open

    counts = {"language": 0, "rest": 0}
    with safe_open(folder / "model.safetensors", "np") as file:
        for name in file.keys():  # noqa: SIM118 (no mapping)
            part = "language" if name.startswith("language_model.") else "rest"
            counts[part] += int(np.prod(file.get_slice(name).get_shape()))
    return counts


def run(task: str, request: dict[str, Any]) -> dict[str, Any]:
    """Do one task: "make", "reference", "check", "time" or "profile"."""
    form = next(form for form in FORMS if form.name == request["form"])
    given = {**request["protocol"], "prompts": tuple(request["protocol"]["prompts"])}
    protocol = Protocol(**given)
    place = Place(
        Path(request["merged"]),
        request["weights_sha256"],
        Path(request["work"]),
        tuple(Path(folder) for folder in request["bundles"]),
        protocol.context,
        max(protocol.prompts),
        request["export"],
    )
    processor = MobileVLMProcessor.from_pretrained(place.merged)
    if task == "make":
        return make(form, place, processor)
    kind = engine_class(form.engine)
    kind.imported()
    before = peak_resident_bytes()
    engine = kind(form, place, request["threads"])
    prompts = {n: prompt_ids(processor, n) for n in protocol.prompts}
    file = place.work / REFERENCE_FILE
    if task == "reference":
        outputs.keep_reference(engine, prompts, protocol.checked_tokens, file)
        return {}
    if task == "check":
        with np.load(file) as reference:
            return {**outputs.compare(engine, prompts, reference, form.bits), **engine.facts()}
    if task == "profile":
        rows = engine.profile(prompts[max(prompts)], 32, place.work / f"{form.name}.trace")
        return {"operators": rows, "tokens": max(prompts)}
    busy = round(os.getloadavg()[0], 2)
    seconds = timed(engine, processor, protocol)
    return {
        "at": int(time.time()),
        "load_average": busy,
        "seconds": seconds,
        "peak_bytes": peak_resident_bytes(),
        "imports_bytes": before,
    }


def main() -> int:
    quiet()
    try:
        result = run(sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    except HydraError as error:
        result = {"failed": " ".join(str(error).split())}
    print(dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
