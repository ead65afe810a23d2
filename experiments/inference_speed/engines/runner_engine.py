"""Our own runners as engines: eager torch, ExecuTorch and ONNX Runtime.

A time includes the runner's whole call as `hydra-mobile evaluate` makes it: the embedding program,
the decoder program, checks of shapes, copies between numpy and the runtime, and a copy of the
logits.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from experiments.inference_speed.engines.base import Engine, Form, Place
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.base import Array, CacheState

WEIGHTS = "model.safetensors"


class RunnerEngine(Engine):
    """A runner, one sequence at a time."""

    whole = True
    runner: str

    @classmethod
    def imported(cls) -> None:
        """Import the runtime."""
        runtime_class(cls.runner)

    def __init__(self, form: Form, place: Place, threads: int) -> None:
        kind = runtime_class(self.runner)
        kind.own_process(threads)
        self._runner: Any = kind.load(self._folder(form, place), threads=threads)
        self.load_seconds = self._runner.load_seconds
        self._state = CacheState()

    def _folder(self, form: Form, place: Place) -> Path:
        return bundle_of(self.runner, form, place)

    def read(self, ids: list[int]) -> Array:
        """Forget everything, read a prompt of ids in one call, return the last logits [V]."""
        return self._append(self._runner.embed(ids), CacheState())

    def step(self, token: int) -> Array:
        """Append one token and return the logits [V] that follow it."""
        return self._append(self._runner.embed([token]), self._state)

    def encode(self, pixels: Array) -> Array:
        """Map pixels [1, 3, H, W] to image embeddings [1, N, hidden]."""
        return np.asarray(self._runner.encode_image(pixels))

    def read_picture(self, picture: Array, ids: list[int]) -> Array:
        """Forget everything, read image embeddings and then ids; return the last logits [V]."""
        rows = np.concatenate([picture, self._runner.embed(ids)], axis=1)
        return self._append(rows, CacheState())

    def _append(self, rows: Array, state: CacheState) -> Array:
        logits, self._state = self._runner.decode(rows, state)
        return np.asarray(logits)


class BundleEngine(RunnerEngine):
    """A runner of a bundle that is found or exported."""

    @classmethod
    def missing(cls) -> str | None:
        """Return why this engine cannot run here; None: it can."""
        try:
            cls.imported()
        except ImportError as error:
            return f"the extra `{cls.runner}` is not installed: {error}"
        return None

    @classmethod
    def make(cls, form: Form, place: Place) -> list[Path]:
        """Find a bundle of this model with room for the prompts, or export one."""
        folder = bundle_of(cls.runner, form, place, required=False)
        if not (folder / "manifest.json").is_file():
            if not place.export:
                raise HydraError(
                    f"there is no bundle android-{cls.runner}-{form.precision} of this model",
                    "Run without --quick, which exports what is missing.",
                )
            command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile", "export"]
            command += [str(place.merged), "--out", str(folder), "--preset", form.precision]
            command += ["--target", "android", "--runtime", cls.runner]
            command += ["--max-context", str(place.context), "--max-prefill", str(place.prefill)]
            done = subprocess.run(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise HydraError(f"The export of {form.name} failed: {last}")
        bundle = Bundle.open(folder, verify_hashes=False)
        parts = ("vision_encoder", "token_embedding", "text_decoder")
        # Weights are in files of their own, beside their graphs.
        roles = {"program", *parts, *(f"{part}_data" for part in parts)}
        return [folder / n for n, e in bundle.manifest["files"].items() if e["role"] in roles]


def bundle_of(runtime: str, form: Form, place: Place, required: bool = True) -> Path:
    """Return the folder of a bundle of the merged model that takes the prompts in one call.

    Where none exists, that is the folder to export to; with `required`, an error.

    Raises:
        ArtifactError: `required`, and there is none.
    """
    own = place.work / form.name
    for folder in (own, *(b / f"android-{runtime}-{form.precision}" for b in place.bundles)):
        if not (folder / "manifest.json").is_file():
            continue
        bundle = Bundle.open(folder, verify_hashes=False)
        limits = bundle.limits
        roomy = limits.max_context >= place.context and limits.max_prefill >= place.prefill
        if roomy and bundle.manifest["sources"].get("merged_sha256") == place.weights:
            return folder
    if required:
        raise ArtifactError(
            f"There is no bundle for {form.name}.", "Run the whole experiment again."
        )
    return own
