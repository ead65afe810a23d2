"""The first token of an answer to a picture: our programs beside llama.cpp's multimodal library.

    python -m experiments.inference_speed.pictures --rounds 3

`smol`'s own tower does not exist in llama.cpp, so the model is one that both have: SmolVLM with
the shapes of SmolVLM-256M. Its text weights are those of base `smolvlm-smol`, its tower and its
connector are random: times are those of the published model, answers are not. One picture of the
tower's own size, so that nobody resizes; it becomes 64 image tokens, and 32 tokens of text follow.
Every engine's image embeddings and logits are held to eager torch's first. Each measurement is a
process of its own; rounds are interleaved, and ratios are taken within a round. Writes
`experiments/inference_speed/pictures.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.inference_speed.engines import FORMS, PEER, REFERENCE, engine_class
from experiments.inference_speed.engines.base import Engine, Form, Place
from experiments.inference_speed.engines.llama_pictures import LlamaPictureEngine
from experiments.inference_speed.session import WEIGHTS, threads_environment
from experiments.inference_speed.table import peer_of
from experiments.shared.markdown import ranged, table
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import read_foreign_json, sha256_of, write_json
from hydra_mobile.core.json_text import dumps

RESULT = Path(__file__).with_name("pictures.json")
SIDE, TEXT, CONTEXT, PREFILL = 512, 32, 256, 128
#: SmolVLM-256M's.
_TOWER = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
_TOWER |= {"num_attention_heads": 12, "image_size": SIDE, "patch_size": 16}
_SEED = 20512
_REPEATS = 2
#: Least mean cosine of a form's image embeddings with eager torch's.
_LEAST = 0.99
_ENGINES = ("torch", "onnx", "executorch", PEER)


def forms() -> list[Form]:
    """Return the forms of engines that see pictures."""
    return [form for form in FORMS if form.engine in _ENGINES]


def engine_of(form: Form) -> type[Engine]:
    """Return the engine of a form; of llama.cpp the one with its tower."""
    return LlamaPictureEngine if form.engine == PEER else engine_class(form.engine)


def write_model(folder: Path) -> None:
    """Write base `smolvlm-smol` with a random tower of SmolVLM-256M's shape."""
    import torch
    from transformers import AutoModelForImageTextToText

    from hydra_mobile.models.registry import base_folder

    base = base_folder("smolvlm-smol")
    small: Any = AutoModelForImageTextToText.from_pretrained(base)
    config = type(small.config).from_dict(small.config.to_dict())
    config.vision_config = type(config.vision_config)(**_TOWER)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = type(small)(config)
    model.model.text_model.load_state_dict(small.model.text_model.state_dict())
    model.tie_weights()
    for file in base.iterdir():
        if file.suffix != ".safetensors" and file.name != "config.json" and file.is_file():
            shutil.copy(file, folder)
    model.save_pretrained(folder)
    # A picture of the tower's size is then resized by nobody, and cut into one tile.
    file = folder / "preprocessor_config.json"
    edges = {"size": {"longest_edge": SIDE}, "max_image_size": {"longest_edge": SIDE}}
    write_json(file, {**read_foreign_json(file, "the base's image processor"), **edges})


def picture() -> NDArray[np.uint8]:
    """Return the picture, [H, W, 3]."""
    return np.random.default_rng(_SEED).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def measure(form: Form, place: Place, threads: int, outputs: Path | None) -> dict[str, Any]:
    """Load a form, encode the picture and read it with the text; return seconds of each repeat.

    With `outputs` image embeddings and logits are left in that file.
    """
    engine: Any = engine_of(form)(form, place, threads)
    seen = picture()
    pixels = (seen.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
    if isinstance(engine, LlamaPictureEngine):
        engine.look(seen)
    ids = list(range(1000, 1000 + TEXT))
    rows = engine.encode(pixels)
    logits = engine.read_picture(rows, ids)
    if outputs:
        np.savez(outputs, rows=rows, logits=logits)
    found: dict[str, list[float]] = {"encode": [], "first": []}
    for _ in range(_REPEATS):
        began = time.perf_counter()
        rows = engine.encode(pixels)
        encoded = time.perf_counter()
        engine.read_picture(rows, ids).argmax()
        found["first"].append(round(time.perf_counter() - began, 5))
        found["encode"].append(round(encoded - began, 5))
    return {"seconds": found, "load_average": round(os.getloadavg()[0], 2)}


def asked(form: Form, place: Place, threads: int, outputs: Path | None = None) -> dict[str, Any]:
    """Measure in a process of its own.

    Raises:
        HydraError: it failed.
    """
    command = [sys.executable, "-W", "ignore", "-m", "experiments.inference_speed.pictures"]
    command += ["--work", str(place.work), "--one", form.name, "--threads", str(threads)]
    command += ["--outputs", str(outputs)] if outputs else []
    done = subprocess.run(command, capture_output=True, text=True, env=threads_environment(threads))
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise HydraError(f"{form.name} failed: {last[:300]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def checked(place: Place, wanted: list[Form]) -> dict[str, dict[str, Any]]:
    """Make every form and compare its outputs with eager torch's; return facts by form.

    Raises:
        HydraError: a form computes something else.
    """
    facts: dict[str, dict[str, Any]] = {}
    expected: Any = None
    for form in wanted:
        files = engine_of(form).make(form, place)
        file = place.work / f"{form.name}.npz"
        asked(form, place, 2, file)
        found = dict(np.load(file))
        expected = found if form.name == REFERENCE else expected
        facts[form.name] = {
            "bits": form.bits,
            "engine": form.engine,
            "files_bytes": sum(f.stat().st_size for f in files),
            "rows_cosine": round(_cosine(found["rows"], expected["rows"]), 5),
            "logits_cosine": round(_cosine(found["logits"], expected["logits"]), 5),
        }
        print(form.name, facts[form.name], flush=True)
        if facts[form.name]["rows_cosine"] < _LEAST:
            raise HydraError(f"The image embeddings of {form.name} are not the model's.")
    return facts


def _cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the mean over rows."""
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return float(((a * b).sum(-1) / lengths).mean())


def render(value: Mapping[str, Any]) -> str:
    """Return the table of a result: medians over rounds with their range, ratios by round."""
    titles = ["form", "threads", "MB", "cosine, image", "cosine, logits"]
    titles += ["encode ms", "of llama.cpp", "first token ms", "of llama.cpp"]
    lines = []
    for threads in value["threads"]:
        by_form: dict[str, dict[int, dict[str, float]]] = {}
        for row in value["rows"]:
            if row["threads"] == threads:
                own = by_form.setdefault(row["form"], {})
                own[row["round"]] = {n: statistics.median(s) for n, s in row["seconds"].items()}
        for form, rounds in by_form.items():
            facts = value["forms"][form]
            cells = [form, str(threads), f"{facts['files_bytes'] / 1e6:.0f}"]
            cells += [f"{facts['rows_cosine']:.4f}", f"{facts['logits_cosine']:.4f}"]
            peer = by_form.get(peer_of(value, form) or "", {})
            for phase in ("encode", "first"):
                own_ms = [1e3 * row[phase] for row in rounds.values()]
                low, middle, high = min(own_ms), statistics.median(own_ms), max(own_ms)
                cells.append(f"{middle:.0f} [{low:.0f}, {high:.0f}]")
                # As elsewhere, larger is faster.
                both = [n for n in rounds if n in peer]
                cells.append(ranged([peer[n][phase] / rounds[n][phase] for n in both]))
            lines.append(cells)
    return table(titles, lines)


def main() -> None:
    from experiments.inference_speed.run import environment_facts
    from hydra_mobile.core.quiet import quiet

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/pictures"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", help="bits, with commas between: 32, 8, 4")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--outputs", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    quiet()
    model = given.work / "base"
    if not (model / WEIGHTS).is_file():
        model.mkdir(parents=True, exist_ok=True)
        write_model(model)
    weights = "" if given.one else sha256_of(model / WEIGHTS)
    if not given.one:
        (given.work / "weights").write_text(weights)
    place = Place(
        model.absolute(),
        (given.work / "weights").read_text(),
        given.work.absolute(),
        (),
        CONTEXT,
        PREFILL,
    )
    if given.one:
        form = next(form for form in FORMS if form.name == given.one)
        print(dumps(measure(form, place, given.threads[0], given.outputs)))
        return
    bits = {int(n) for n in given.only.split(",") if n}
    wanted = [f for f in forms() if not bits or f.bits in bits or f.name == REFERENCE]
    facts = checked(place, wanted)
    rows = []
    for number in range(given.rounds):
        for threads in given.threads:
            for form in [*wanted[number % len(wanted) :], *wanted[: number % len(wanted)]]:
                answer = asked(form, place, threads)
                rows.append({"round": number, "threads": threads, "form": form.name, **answer})
                print(form.name, threads, answer["seconds"], flush=True)
    value = {
        "what": "seconds to encode a picture, and to the first token of an answer to it",
        "environment": environment_facts(),
        "model": {"tower": _TOWER, "text_tokens": TEXT, "weights_sha256": weights},
        "threads": given.threads,
        "forms": facts,
        "rows": rows,
    }
    write_json(given.out, value)
    print(render(value))


if __name__ == "__main__":
    main()
